import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from rich.console import Console

from infra.embedded.layout import Layout
from ops import record_store
from ops.errors import CheckFailedError, UnreachableError, UsageError
from ops.record import Record
from ops.record_store import RecordStore, StoreError, copied
from ops.steps import Steps

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = "20260301T120000.000Z-1.0-abc"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "s3":
        return f"{'file://' if request.param == 'file' else ''}{tmp_path}/store/staging"
    _credentials(monkeypatch, request.getfixturevalue("s3_server"))
    bucket = f"b{os.urandom(8).hex()}"
    RecordStore(f"s3://{bucket}").files.mkdir(bucket)
    return f"s3://{bucket}/staging"


def _credentials(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    told = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in (told | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def one(tmp_path: Path) -> Record:
    (tmp_path / "records").mkdir()
    found = Record.begin(tmp_path / "records", "1.0-abc", NOON)
    (found.folder / "samples.bin").write_bytes(os.urandom(100_000))
    found.write("outcome.json", {"outcome": "passed"})
    return found


def test_a_record_arrives_whole_and_only_once(url: str, one: Record) -> None:
    store = RecordStore(url)
    assert store.deploys() == []
    assert store.add_missing(one.folder.parent) == 1
    assert RecordStore(url).deploys() == [NAME]
    for path in one.folder.iterdir():
        assert store.read(NAME, path.name) == path.read_bytes()
    assert store.read(NAME, "none.json") is None
    assert store.add_missing(one.folder.parent) == 0


def test_what_is_there_is_never_overwritten(url: str, one: Record) -> None:
    store = RecordStore(url)
    store.add(one)
    before = store.read(NAME, "samples.bin")
    (one.folder / "samples.bin").write_bytes(b"other")
    with pytest.raises(StoreError, match=r"samples\.bin is there with another content"):
        store.add(one)
    assert store.read(NAME, "samples.bin") == before


def test_the_outcome_comes_last_and_what_was_interrupted_goes_on(
    url: str, one: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, create = RecordStore(url), RecordStore._create

    def cut(self: RecordStore, place: str, content: bytes) -> None:
        if place.endswith("outcome.json"):
            raise KeyboardInterrupt
        create(self, place, content)

    monkeypatch.setattr(RecordStore, "_create", cut)
    with pytest.raises(KeyboardInterrupt):
        store.add(one)
    monkeypatch.setattr(RecordStore, "_create", create)
    assert store.read(NAME, "samples.bin") is not None
    assert store.read(NAME, "outcome.json") is None
    assert store.add_missing(one.folder.parent) == 1
    assert store.read(NAME, "outcome.json") is not None


def test_a_record_without_outcome_stays(tmp_path: Path) -> None:
    Record.begin(tmp_path, "killed", NOON)
    assert RecordStore(f"{tmp_path}/store").add_missing(tmp_path) == 0


def test_a_store_out_of_reach_is_one_line(one: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    _credentials(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="the record stays on this machine") as caught:
        RecordStore("s3://bucket/staging").add(one)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_bucket_that_is_not_there_is_out_of_reach(
    s3_server: str, one: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    _credentials(monkeypatch, s3_server)
    with pytest.raises(UnreachableError):
        RecordStore("s3://nobody-made-it/staging").add(one)


def test_a_store_that_never_answers_holds_nobody(one: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import threading

    released = threading.Event()
    monkeypatch.setattr(record_store, "CALL_SECONDS", 0.05)
    store = RecordStore(str(tmp_path))
    monkeypatch.setattr(store.files, "cat_file", lambda *_: released.wait())
    with pytest.raises(UnreachableError, match="no answer within"):
        store.add(one)
    released.set()


@pytest.fixture
def finished(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.records.mkdir(parents=True)
    Record.begin(layout.records, "1.0-abc", NOON).write("outcome.json", {"outcome": "failed"})
    return layout


def test_after_a_deploy_its_record_is_copied_also_when_it_failed(finished: Layout, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError), copied(finished, f"{tmp_path}/store", Steps(Console(quiet=True))):
        raise CheckFailedError
    assert RecordStore(f"{tmp_path}/store/local").deploys() == [NAME]
    with copied(finished, None, Steps(Console(quiet=True))):
        pass


def test_a_deploy_whose_store_is_out_of_reach_says_so_and_its_own_failure_goes_before(
    finished: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    _credentials(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(UnreachableError), copied(finished, "s3://bucket", Steps(Console(quiet=True))):
        pass
    with pytest.raises(CheckFailedError), copied(finished, "s3://bucket", Steps(Console(quiet=True))):
        raise CheckFailedError
    assert (finished.records / NAME / "outcome.json").exists()


def test_unknown_places_and_missing_packages_are_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is no place for records"):
        RecordStore("ftp://somewhere/x")

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UsageError, match="pip install s3fs"):
        RecordStore("s3://bucket/x")
