r"""The samples file: every request of a load run, columnar, written as the run goes on.

Format, version 1 (all numbers little-endian):

    file    := "SLIPWAY-SAMPLES 1\n" block*
    block   := tag (4 bytes) length (uint32) crc32 of the payload (uint32) payload (length bytes)

    HEAD    JSON, once, first: {"columns": [[name, numpy type], ...], "started_at": RFC 3339, ...}
    NAME    JSON, before its first use: {"column": "kind" | "error", "code": 1.., "name": text}
    ROWS    uint32 count, then each column of HEAD in turn, count values each
    USED    JSON, once a second or so: {"at_us", "processor_ns": [of each service], "machine_busy_ns"}, counted up from
            whenever; only where several services were measured side by side
    DONE    JSON, once, last: how the run ended. A file without it comes from a run that was cut short.

Every block goes out in one write to the kernel, so that SIGKILL can only cost what was not flushed yet, a second at
most; a machine that stops may leave a torn last block, which the reader leaves out and mentions. Anything else that
does not fit is a `SamplesError`, never a guess.

Columns: `start_us` counts from the start of the measurement (negative: warm-up) to when the request was meant to start;
`latency_us` from there to the last byte of the answer; `lag_us` is how late the generator itself began (at least 1, but
0 for a journey's later requests); `bytes` of the answer's body; `status` is 0 when no answer came; `error` 0 is none;
`release` says which of several services under test was asked.
"""

import json
import math
import os
import struct
import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Recorder", "Samples", "SamplesError", "read_samples"]

MAGIC: Final = b"SLIPWAY-SAMPLES 1\n"
BLOCK: Final = struct.Struct("<4sII")
COLUMNS: Final = {
    "start_us": ("q", "<i8"),
    "latency_us": ("I", "<u4"),
    "lag_us": ("I", "<u4"),
    "bytes": ("I", "<u4"),
    "status": ("H", "<u2"),
    "kind": ("B", "<u1"),
    "error": ("B", "<u1"),
    "release": ("B", "<u1"),
}
LARGEST_UINT32: Final = 2**32 - 1
LARGEST_CODE: Final = 255
OTHER: Final = "other"


class SamplesError(Exception):
    """A samples file cannot be read; the message names the file, the place and what is wrong, in one line."""


class Recorder:
    """Writes one samples file. Not thread-safe: one event loop adds and flushes.

    Args:
        path: file to write; one that is there already is replaced.
        head: what is to stand in HEAD besides the columns; JSON-serialisable.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._codes: dict[str, dict[str, int]] = {"kind": {}, "error": {"": 0}}
        self._columns = {name: array(code) for name, (code, _) in COLUMNS.items()}
        self._pending = bytearray(MAGIC)
        columns = [[name, numpy_type] for name, (_, numpy_type) in COLUMNS.items()]
        self._append(b"HEAD", json.dumps({"columns": columns, **head}).encode())
        self.flush()

    def add(
        self,
        *,
        start_us: int,
        latency_us: int,
        lag_us: int,
        bytes_: int,
        status: int,
        kind: str,
        error: str = "",
        release: int = 0,
    ) -> None:
        """Keep one request; `error` is "" for none. It reaches the file with the next `flush`."""
        columns = self._columns
        columns["start_us"].append(start_us)
        columns["latency_us"].append(min(max(latency_us, 0), LARGEST_UINT32))
        columns["lag_us"].append(min(max(lag_us, 0), LARGEST_UINT32))
        columns["bytes"].append(min(bytes_, LARGEST_UINT32))
        columns["status"].append(status)
        columns["kind"].append(self._code("kind", kind))
        columns["error"].append(self._code("error", error))
        columns["release"].append(release)

    def add_usage(self, at_us: int, processor_ns: Sequence[int | None], machine_busy_ns: int) -> None:
        """Keep what processors have worked so far: for each service under test (None: not known), and altogether."""
        usage = {"at_us": at_us, "processor_ns": processor_ns, "machine_busy_ns": machine_busy_ns}
        self._append(b"USED", json.dumps(usage).encode())

    def flush(self) -> None:
        """Hand everything added so far to the kernel; call it at least once a second."""
        count = len(self._columns["start_us"])
        if count:
            payload = bytearray(struct.pack("<I", count))
            for column in self._columns.values():
                if sys.byteorder == "big":
                    column.byteswap()
                payload += column.tobytes()
                del column[:]
            self._append(b"ROWS", bytes(payload))
        while self._pending:
            written = os.write(self._descriptor, self._pending)
            del self._pending[:written]

    def close(self, done: Mapping[str, Any]) -> None:
        """Flush, say how the run ended, and let go of the file."""
        self.flush()
        self._append(b"DONE", json.dumps(done).encode())
        self.flush()
        os.close(self._descriptor)

    def _append(self, tag: bytes, payload: bytes) -> None:
        self._pending += BLOCK.pack(tag, len(payload), zlib.crc32(payload)) + payload

    def _code(self, column: Literal["kind", "error"], name: str) -> int:
        codes = self._codes[column]
        code = codes.get(name)
        if code is None:
            if len(codes) >= LARGEST_CODE and name != OTHER:
                return self._code(column, OTHER)
            code = codes[name] = len(codes)
            self._append(b"NAME", json.dumps({"column": column, "code": code, "name": name}).encode())
        return code


@dataclass(frozen=True)
class Samples:
    """A samples file in memory.

    Args:
        head: HEAD, with when and under which conditions the run began.
        done: DONE, or None when the run was cut short.
        columns: one array of shape (n,) for each column, in the order of the file.
        kinds: names of the request kinds by code.
        errors: texts of the errors by code; code 0 is "".
        torn_bytes: length of an unfinished block at the end, which was left out; 0 in a file that was closed.
        usage: USED, in the order of the file.
    """

    head: Mapping[str, Any]
    done: Mapping[str, Any] | None
    columns: Mapping[str, NDArray[Any]]
    kinds: tuple[str, ...]
    errors: tuple[str, ...]
    torn_bytes: int
    usage: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.columns["start_us"])

    def where(self, chosen: NDArray[np.bool_]) -> "Samples":
        """The samples for which `chosen`, of shape (n,), is true."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return replace(self, columns=columns)

    def measured(self) -> "Samples":
        """Those that were due within the measurement: neither in the warm-up nor after the end."""
        starts_us = self.columns["start_us"]
        end_us = float(self.head.get("measure_seconds") or math.inf) * 1e6
        return self.where((starts_us >= 0) & (starts_us < end_us))

    def of_kind(self, kind: str) -> "Samples":
        """Those of one request kind; none when the kind does not occur."""
        code = self.kinds.index(kind) if kind in self.kinds else -1
        return self.where(self.columns["kind"] == code)

    def succeeded(self) -> "Samples":
        """Those without error: the only ones whose latency says how fast the service is."""
        return self.where(self.columns["error"] == 0)


def read_samples(path: Path) -> Samples:
    """Read a samples file, finished or not.

    Raises:
        SamplesError: there is no such file, it is of another kind or version, or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SamplesError(f"{path}: {error.strerror}") from error
    if not content.startswith(MAGIC):
        raise SamplesError(f"{path} is not a samples file of version 1 (it begins with {content[:18]!r})")
    try:
        return _parse(content)
    except SamplesError as error:
        raise SamplesError(f"{path}: {error}: take the samples from another copy, or measure again") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise SamplesError(f"{path}: damaged ({error!r}): take it from another copy, or measure again") from error


def _parse(content: bytes) -> Samples:  # noqa: C901 - one branch a kind of block
    head: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    names: dict[str, dict[int, str]] = {"kind": {}, "error": {0: ""}}
    parts: dict[str, list[NDArray[Any]]] = {}
    usage: list[Mapping[str, Any]] = []
    position = len(MAGIC)
    while position + BLOCK.size <= len(content):
        tag, length, checksum = BLOCK.unpack_from(content, position)
        payload = content[position + BLOCK.size : position + BLOCK.size + length]
        if len(payload) < length:
            break
        if zlib.crc32(payload) != checksum:
            raise SamplesError(f"the block at byte {position} is damaged (checksum)")
        if tag == b"HEAD" and head is None:
            head = json.loads(payload)
            parts = {name: [np.empty(0, numpy_type)] for name, numpy_type in head["columns"]}
        elif tag == b"NAME":
            entry = json.loads(payload)
            names[entry["column"]][entry["code"]] = entry["name"]
        elif tag == b"ROWS":
            _append_rows(parts, payload)
        elif tag == b"USED":
            usage.append(json.loads(payload))
        elif tag == b"DONE":
            done = json.loads(payload)
        else:
            raise SamplesError(f"the block at byte {position} is of unknown kind {tag!r}")
        position += BLOCK.size + length
    if head is None:
        raise SamplesError("it ends before its head")
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    if missing := COLUMNS.keys() - columns.keys():
        raise SamplesError(f"columns are missing: {', '.join(sorted(missing))}")
    kinds, errors = (tuple(codes[code] for code in range(len(codes))) for codes in (names["kind"], names["error"]))
    return Samples(head, done, columns, kinds, errors, len(content) - position, tuple(usage))


def _append_rows(parts: dict[str, list[NDArray[Any]]], payload: bytes) -> None:
    (count,) = struct.unpack_from("<I", payload)
    offset = 4
    for arrays in parts.values():
        column = np.frombuffer(payload, arrays[0].dtype, count, offset)
        arrays.append(column)
        offset += column.nbytes
    if offset != len(payload):
        raise SamplesError(f"a block of {count} rows has {len(payload)} bytes instead of {offset}")
