"""Records where they outlive the machine: in a folder or an object store, by any URL that fsspec knows.

One folder a deploy, as in `.slipway/<environment>/records/`, below the URL. Append-only: what is there is
never written again, and only completed. `outcome.json` comes last, so that whoever sees it sees a whole record.
"""

import contextlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as CallTimeoutError
from pathlib import Path
from typing import Any, Final

import fsspec  # type: ignore[import-untyped] # has no types of its own

from infra.embedded.layout import Layout
from ops.errors import SlipwayError, UnreachableError, UsageError
from ops.record import Record
from ops.steps import Steps

LAST: Final = "outcome.json"
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 20
CALL_SECONDS: Final = 60
"""The longest that one call to the store may take, its client's own repetitions included."""
PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs"}
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "file": {},
    "s3": {
        "config_kwargs": {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": {"max_attempts": 1},
        },
    },
    "gs": {"timeout": READ_SECONDS},
}
REMEDY: Final = "the record stays on this machine; look at the address, the network and the credentials"


class StoreError(SlipwayError):
    """The store holds something else under a name that was to be added; nothing of it was overwritten."""


class RecordStore:
    """The records of one environment at a URL.

    Args:
        url: a folder, or a URL such as `s3://bucket/staging`, `gs://bucket/staging`, `file:///records/staging`.

    Raises:
        UsageError: nobody knows such URLs, or what speaks to such a store is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        protocol = url.partition("://")[0] if "://" in url else "file"
        if protocol not in OPTIONS:
            raise UsageError(f"{url!r} is no place for records: give a folder, or a URL with s3://, gs:// or file://")
        # No listing may be an old one: what another machine added counts.
        options = OPTIONS[protocol] | {"use_listings_cache": False, "skip_instance_cache": True}
        try:
            self.files, self.root = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            package = PACKAGES[protocol]
            raise UsageError(f"{url} needs {package}, which is not installed: pip install {package}") from error
        self.local = protocol == "file"

    def add(self, record: Record) -> None:
        """Copy a finished deploy's record; run again, it adds what is missing.

        Raises:
            StoreError: a file of that name is there with another content.
            UnreachableError: the store cannot be reached, or refuses.
        """
        files = sorted(path for path in record.folder.iterdir() if path.is_file() and not path.name.startswith("."))
        for path in sorted(files, key=lambda path: path.name == LAST):
            self._add_file(path, f"{self.root}/{record.folder.name}/{path.name}")

    def deploys(self) -> list[str]:
        """The names of the deploys that left a record, oldest first.

        Raises:
            UnreachableError: the store cannot be reached, or refuses.
        """
        with self._reached():
            try:
                found = _timed(self.files.ls, self.root, detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for path in found if "Z-" in (name := path.rstrip("/").rpartition("/")[2]))

    def read(self, deploy: str, name: str) -> bytes | None:
        """One file of a record; None where there is none.

        Raises:
            UnreachableError: the store cannot be reached, or refuses.
        """
        return self._read(f"{self.root}/{deploy}/{name}")

    def add_missing(self, records: Path) -> int:
        """Add each finished deploy's record that is not there yet; how many there were.

        Raises:
            StoreError, UnreachableError: as for `add`.
        """
        added = 0
        for folder in sorted(records.glob("*Z-*")):
            with contextlib.suppress(FileNotFoundError):  # a deploy without outcome was killed, or is under way
                outcome = (folder / LAST).read_bytes()
                if self.read(folder.name, LAST) != outcome:
                    self.add(Record(folder))
                    added += 1
        return added

    def _add_file(self, path: Path, place: str) -> None:
        content = path.read_bytes()
        try:
            if self._read(place) is None:
                self._create(place, content)
        except FileExistsError:
            pass  # somebody was quicker
        if self._read(place) != content:
            raise StoreError(f"{place} is there with another content and stays as it is: give another --records")

    def _create(self, place: str, content: bytes) -> None:
        with self._reached():
            if self.local:
                self._link(content, Path(place))
            else:
                # One PUT, or parts that count together: whole or not at all, and refused where there is one.
                _timed(self.files.pipe_file, place, content, mode="create")

    @staticmethod
    def _link(content: bytes, place: Path) -> None:
        """Whole or not at all, and never over another one: `link` refuses where `rename` would replace."""
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(6)}")
        try:
            temporary.write_bytes(content)
            place.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, place: str) -> bytes | None:
        with self._reached():
            try:
                content: bytes = _timed(self.files.cat_file, place)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return content

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell each client library's own failures in one way."""
        try:
            yield
        except FileExistsError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise UnreachableError(f"the records at {self.url} cannot be reached ({said}): {REMEDY}") from error


@contextlib.contextmanager
def copied(layout: Layout, url: str | None, steps: Steps) -> Iterator[None]:
    """Copy the records to `url` after the deploy, if one is given: that of a failed deploy, too.

    Raises:
        UsageError: `url` is no place for records; before the deploy.
        StoreError, UnreachableError: they could not be copied. A failed deploy's own reason goes before.
    """
    if not url:
        yield
        return
    store = RecordStore(f"{url.rstrip('/')}/{layout.environment}")
    try:
        yield
    except Exception:
        with contextlib.suppress(SlipwayError):
            _copy(store, layout, steps)
        raise
    _copy(store, layout, steps)


def _copy(store: RecordStore, layout: Layout, steps: Steps) -> None:
    with steps.step("records") as step:
        step.say(f"{store.add_missing(layout.records)} copied to {store.url}")


def _timed(call: Any, *arguments: Any, **options: Any) -> Any:
    """The call's result; a store that never answers holds nobody longer than CALL_SECONDS."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call, *arguments, **options).result(CALL_SECONDS)
    except CallTimeoutError as error:
        raise TimeoutError(f"no answer within {CALL_SECONDS} s") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
