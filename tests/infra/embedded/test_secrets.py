import base64
import json

import pytest

from infra.contract import SECRET_FILES
from infra.embedded import secrets
from infra.embedded.layout import Layout, LayoutError


def test_every_process_finds_its_secrets_and_no_other(layout: Layout) -> None:
    for process, files in SECRET_FILES.items():
        folder = secrets.folder_of(layout, process)
        assert {path.name for path in folder.iterdir()} == set(files)
        for file, secret in files.items():
            assert (folder / file).read_text() == secrets.read(layout, secret)


def test_values_are_private_long_and_different(layout: Layout) -> None:
    every = [path for path in (layout.home / "secrets").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in every} == {0o600}
    paths = list((layout.home / "secrets" / "values").iterdir())
    values = [path.read_text() for path in paths]
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 43


def test_secrets_are_generated_once(layout: Layout) -> None:
    before = {name: secrets.read(layout, name) for name in secrets.PASSWORDS}
    secrets.ensure(layout)
    assert {name: secrets.read(layout, name) for name in secrets.PASSWORDS} == before


def test_a_copy_that_differs_is_repaired(layout: Layout) -> None:
    copy = secrets.folder_of(layout, "api") / "slipway_cache_password"
    copy.write_text("something else")
    secrets.ensure(layout)
    assert copy.read_text() == secrets.read(layout, "cache_password")


def test_the_key_ring_signs_with_a_key_it_holds(layout: Layout) -> None:
    ring = json.loads(secrets.read(layout, "token_keys"))
    (key,) = ring["keys"]
    assert key["kid"] == ring["signing"]
    assert len(base64.urlsafe_b64decode(key["key"] + "=")) == 32


@pytest.mark.parametrize("loss", ["deleted", "emptied"])
def test_a_lost_secret_comes_back_from_the_process_that_still_has_it(layout: Layout, loss: str) -> None:
    before = secrets.read(layout, "admin_password")
    path = secrets.path_of(layout, "admin_password")
    path.unlink() if loss == "deleted" else path.write_text("")
    secrets.ensure(layout)
    assert secrets.read(layout, "admin_password") == before


def test_the_database_s_own_password_is_never_replaced(layout: Layout) -> None:
    (layout.home / "postgres").mkdir()
    secrets.path_of(layout, "admin_password").unlink()
    (secrets.folder_of(layout, "bootstrap") / "slipway_admin_password").unlink()
    with pytest.raises(LayoutError, match="admin_password is lost"):
        secrets.ensure(layout)
