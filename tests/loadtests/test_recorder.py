import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests.recorder import COLUMNS, MAGIC, Recorder, Samples, SamplesError, read_samples

rows = st.lists(
    st.fixed_dictionaries(
        {
            "start_us": st.integers(-(2**40), 2**40),
            "latency_us": st.integers(0, 2**32 - 1),
            "lag_us": st.integers(0, 2**32 - 1),
            "bytes_": st.integers(0, 2**32 - 1),
            "status": st.integers(0, 999),
            "kind": st.sampled_from(["list_tasks", "me", "Ünïcode"]),
            "error": st.sampled_from(["", "status 500", "ConnectionRefusedError"]),
        }
    ),
    max_size=60,
)


def record(path: Path, row_list: Any, *, close: Any = True, flush_every: Any = 7) -> None:
    recorder = Recorder(path, {"started_at": "now"})
    for index, row in enumerate(row_list):
        recorder.add(**row)
        if index % flush_every == 0:
            recorder.flush()
    recorder.flush()
    if close:
        recorder.close({"failure": ""})


def attempt(path: Path) -> tuple[Samples | None, str]:
    """The samples, or what is said of them."""
    try:
        return read_samples(path), ""
    except SamplesError as error:
        return None, str(error)


def row(**changes: Any) -> Any:
    usual = {"start_us": 1, "latency_us": 2, "lag_us": 3, "bytes_": 4, "status": 200, "kind": "me", "error": ""}
    return usual | changes


@given(rows)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_goes_in_comes_out(tmp_path: Path, row_list: Any) -> None:
    path = tmp_path / "samples.bin"
    record(path, row_list)
    samples = read_samples(path)
    assert samples.torn_bytes == 0
    assert samples.done == {"failure": ""}
    assert len(samples) == len(row_list)
    for name in ("start_us", "latency_us", "lag_us", "status"):
        assert samples.columns[name].tolist() == [one[name] for one in row_list]
    assert samples.columns["bytes"].tolist() == [one["bytes_"] for one in row_list]
    assert [samples.kinds[code] for code in samples.columns["kind"]] == [one["kind"] for one in row_list]
    assert [samples.errors[code] for code in samples.columns["error"]] == [one["error"] for one in row_list]


def test_numbers_too_large_are_kept_as_the_largest(tmp_path: Path) -> None:
    record(tmp_path / "s", [row(latency_us=2**40, lag_us=-5, bytes_=2**40)])
    columns = read_samples(tmp_path / "s").columns
    assert (columns["latency_us"][0], columns["lag_us"][0], columns["bytes"][0]) == (2**32 - 1, 0, 2**32 - 1)


def test_a_flood_of_different_errors_ends_in_other(tmp_path: Path) -> None:
    record(tmp_path / "s", [row(error=f"error {number}") for number in range(400)])
    samples = read_samples(tmp_path / "s")
    named = [samples.errors[code] for code in samples.columns["error"]]
    assert named[0] == "error 0"
    assert named[-1] == "other"
    assert len(samples.errors) <= 256


def test_a_minute_of_load_is_small(tmp_path: Path) -> None:
    record(tmp_path / "s", [row(start_us=number) for number in range(12_000)], flush_every=100)
    assert (tmp_path / "s").stat().st_size < 400_000


def test_measured_leaves_warm_up_and_what_began_after_the_end_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "s", {"measure_seconds": 2.0})
    for start_us in (-1, 0, 1_999_999, 2_000_000):
        recorder.add(**row(start_us=start_us))
    recorder.close({})
    assert read_samples(tmp_path / "s").measured().columns["start_us"].tolist() == [0, 1_999_999]


def test_an_unknown_kind_has_no_samples(tmp_path: Path) -> None:
    record(tmp_path / "s", [row()])
    assert len(read_samples(tmp_path / "s").of_kind("other")) == 0


def test_sigkill_loses_what_was_not_flushed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "samples.bin"
    program = f"""
import time
from pathlib import Path
from loadtests.recorder import Recorder
recorder = Recorder(Path({str(path)!r}), {{}})
number = 0
while True:
    recorder.add(start_us=number, latency_us=number, lag_us=0, bytes_=1, status=200, kind="me")
    number += 1
    if number % 50 == 0:
        recorder.flush()
        print(number, flush=True)
    time.sleep(0.0005)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        announced = 0
        began = time.monotonic()
        while announced < 400 and time.monotonic() - began < 20:
            announced = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
    flushed = int(rest[-1]) if rest else announced
    samples = read_samples(path)
    assert samples.done is None
    assert flushed <= len(samples) <= flushed + 50
    assert samples.columns["start_us"].tolist() == list(range(len(samples)))


def test_a_torn_end_is_left_out_and_mentioned(tmp_path: Path) -> None:
    path = tmp_path / "s"
    record(path, [row(start_us=number) for number in range(40)], flush_every=10)
    content = path.read_bytes()
    lengths = []
    for end in range(len(MAGIC), len(content)):
        path.write_bytes(content[:end])
        samples, error = attempt(path)
        assert "\n" not in error
        if samples is None:
            continue
        assert samples.columns["start_us"].tolist() == list(range(len(samples)))
        assert samples.done is None
        lengths.append(len(samples))
    assert sorted(lengths) == lengths
    assert lengths[-1] == 40


def test_damage_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "s"
    record(path, [row(start_us=number) for number in range(10)])
    content = bytearray(path.read_bytes())
    whole = read_samples(path)
    for place in range(len(content)):
        damaged = content.copy()
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        samples, error = attempt(path)
        if samples is None:
            assert str(path) in error
            assert "\n" not in error
        else:
            # A damaged length can make the rest look like a torn end; the run then counts as cut short.
            assert samples.done is None
            assert samples.torn_bytes > 0
            assert len(samples) <= len(whole)


def test_checksums_that_fit_do_not_make_nonsense_good(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for tag, payload in [
        (b"WHAT", b"{}"),
        (b"NAME", b"[]"),
        (b"NAME", b"{"),
        (b"ROWS", struct.pack("<I", 10**6)),
        (b"ROWS", struct.pack("<I", 0) + b"left over"),
    ]:
        recorder = Recorder(path, {})
        recorder._append(tag, payload)
        recorder.close({})
        with pytest.raises(SamplesError):
            read_samples(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"SLIPWAY-SAMPLES 2\n", MAGIC])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(SamplesError) as caught:
        read_samples(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="No such file"):
        read_samples(tmp_path / "none")


def test_missing_columns_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {name: types for name, types in COLUMNS.items() if name != "lag_us"}
    monkeypatch.setattr("loadtests.recorder.COLUMNS", fewer)
    recorder = Recorder(tmp_path / "s", {})
    recorder.close({})
    monkeypatch.undo()
    with pytest.raises(SamplesError, match="lag_us"):
        read_samples(tmp_path / "s")


def test_columns_are_numpy_arrays_of_the_documented_types(tmp_path: Path) -> None:
    record(tmp_path / "s", [row(), row()])
    columns = read_samples(tmp_path / "s").columns
    assert {name: column.dtype for name, column in columns.items()} == {
        name: np.dtype(numpy_type) for name, (_, numpy_type) in COLUMNS.items()
    }
