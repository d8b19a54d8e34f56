import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest

from ops import sbom
from ops.errors import CheckFailedError
from tests.environments import ROOT

DIGEST = "ab" * 32
LOCK = f"""\
annotated-doc==0.0.7 \\
    --hash=sha256:{"01" * 32} \\
    --hash=sha256:{"02" * 32}
    # via fastapi
deprecated==1.3.1 ; python_full_version < '3.12' \\
    --hash=sha256:{"03" * 32}
deprecated==3.0.1 ; python_full_version >= '3.12' \\
    --hash=sha256:{"04" * 32}
"""


def package(name: str, version: str, **told: list[str]) -> dict[str, Any]:
    return {"name": name, "version": version, "expression": [], "classifiers": [], "license": []} | told


def contents(*packages: dict[str, Any]) -> sbom.Contents:
    release = {"release": "1.2-abc", "digest": f"sha256:{DIGEST}", "created_at": "2026-01-02T03:04:05Z"}
    return sbom.Contents.read(json.dumps({"release": release, "python": "3.14.1", "packages": list(packages)}))


SOME = (
    package("deprecated", "1.3.1", classifiers=["Topic :: Software", "License :: OSI Approved :: MIT License"]),
    package("Annotated_Doc", "0.0.7", expression=["MIT OR Apache-2.0"]),
)


@pytest.fixture(scope="module")
def schema() -> Any:
    """CycloneDX's own, as the library that reads and writes it carries it."""
    folder = files("cyclonedx.schema") / "_res"
    names = ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    known = [(f"http://cyclonedx.org/schema/{name}", json.loads((folder / name).read_text())) for name in names]
    whole = json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_text())
    return jsonschema_rs.validator_for(whole, registry=jsonschema_rs.Registry(known), validate_formats=True)


@pytest.mark.parametrize("base", ["python:3.14-slim", f"registry.example.com/python:3.14-slim@sha256:{DIGEST}"])
def test_the_bill_is_what_cyclonedx_says_it_is(schema: Any, base: str) -> None:
    bill = sbom.bill_of_materials(contents(*SOME), LOCK, base)
    assert [error.message for error in schema.iter_errors(bill)] == []
    assert list(schema.iter_errors(bill | {"components": [{"name": "no type"}]})) != []


def test_each_package_comes_with_the_hashes_that_let_it_in() -> None:
    components = sbom.bill_of_materials(contents(*SOME), LOCK, "python:3.14-slim")["components"]
    assert [component["name"] for component in components] == [
        "annotated-doc",
        "deprecated",
        "CPython",
        "python:3.14-slim",
    ]
    assert components[0]["purl"] == "pkg:pypi/annotated-doc@0.0.7"
    assert [one["content"] for one in components[0]["hashes"]] == ["01" * 32, "02" * 32]
    assert [one["content"] for one in components[1]["hashes"]] == ["03" * 32]
    assert components[0]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert components[1]["licenses"] == [{"license": {"name": "MIT License"}}]


def test_the_same_content_is_the_same_bill() -> None:
    one, other = (sbom.bill_of_materials(contents(*SOME), LOCK, "base") for _ in range(2))
    assert one == other
    assert sbom.bill_of_materials(contents(*SOME), LOCK, "another")["serialNumber"] != one["serialNumber"]


@pytest.mark.parametrize("unknown", [package("locust", "2"), package("deprecated", "9")])
def test_what_the_lock_file_does_not_hold_is_refused(unknown: dict[str, Any]) -> None:
    with pytest.raises(CheckFailedError, match=rf"holds {unknown['name']} {unknown['version']}, which requirements"):
        sbom.bill_of_materials(contents(unknown), LOCK, "base")


def test_every_line_of_our_own_lock_file_is_understood() -> None:
    text = (ROOT / "requirements" / "service.txt").read_text()
    hashes = sbom.locked_hashes(text)
    assert sum(map(len, hashes.values())) == text.count("--hash=sha256:")
    assert all(hashes.values())
    assert len(hashes) == text.count("==") - text.count(" == ") - sum("==" in line for line in _comments(text))


def _comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("#")]


@pytest.mark.parametrize(
    ("told", "licence"),
    [
        ({"expression": ["BSD-3-Clause"], "license": ["BSD"]}, "BSD-3-Clause"),
        ({"classifiers": ["License :: OSI Approved :: B", "License :: OSI Approved :: A"], "license": ["x"]}, "A; B"),
        ({"license": ["MIT | X\n\nPermission is hereby granted"]}, "MIT \\| X"),
        ({}, "not stated"),
    ],
)
def test_the_licence_is_the_best_that_a_package_states(told: dict[str, list[str]], licence: str) -> None:
    listed = sbom.licence_list(contents(package("some", "1", **told)), "base")
    assert f"| some | 1 | {licence} |" in listed
    assert f"| {licence} | 1 |" in listed
