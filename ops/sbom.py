"""What an image holds, for those who must know: a software bill of materials (CycloneDX 1.6) and a licence list.

What is installed is read from the image itself, and what it may be from the lock file: the two must agree.
"""

import json
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ops.errors import CheckFailedError

INSPECTION = """
import importlib.metadata, json, pathlib, platform
def text(of, field): return [str(one) for one in of.metadata.get_all(field) or []]
packages = [
    {
        "name": one.metadata["Name"],
        "version": one.version,
        "expression": text(one, "License-Expression"),
        "classifiers": text(one, "Classifier"),
        "license": text(one, "License"),
    }
    for one in importlib.metadata.distributions(path=["/app/packages"])
]
release = json.loads(pathlib.Path("/app/release.json").read_text())
print(json.dumps({"release": release, "python": platform.python_version(), "packages": packages}))
"""
"""Run in the image, it prints what `Contents.read` reads."""

CLASSIFIER = "License :: OSI Approved :: "
LOCKED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
DIGEST = re.compile(r"@sha256:([0-9a-f]{64})$")


@dataclass(frozen=True)
class Package:
    """One installed package.

    Args:
        name: normalised (PEP 503).
        version: as installed.
        licence: an SPDX expression where the package gives one, else its own words.
        is_expression: whether it is that.
    """

    name: str
    version: str
    licence: str
    is_expression: bool

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


@dataclass(frozen=True)
class Contents:
    """What the image says of itself: its release's manifest, its Python's version, its packages by name."""

    release: dict[str, Any]
    python: str
    packages: list[Package]

    @classmethod
    def read(cls, inspected: str) -> "Contents":
        """From what `INSPECTION` printed."""
        told = json.loads(inspected)
        packages = sorted((_package(one) for one in told["packages"]), key=lambda package: package.name)
        return cls(told["release"], told["python"], packages)


def locked_hashes(lock: str) -> dict[tuple[str, str], list[str]]:
    """The SHA-256 (hexadecimal) of every file that the lock accepts, by normalised name and version."""
    hashes: dict[tuple[str, str], list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines():
        if found := LOCKED.match(line):
            current = hashes.setdefault((_normal(found[1]), found[2]), [])
        current.extend(HASH.findall(line))
    return hashes


def bill_of_materials(contents: Contents, lock: str, base: str) -> dict[str, Any]:
    """The SBOM: the service, its packages with the hashes they were let in by, Python, and the base image.

    The same for the same content, except for what the release's manifest says of time.

    Raises:
        CheckFailedError: the image holds what the lock file does not.
    """
    hashes = locked_hashes(lock)
    components = []
    for package in contents.packages:
        if (package.name, package.version) not in hashes:
            raise CheckFailedError(
                f"the image holds {package.name} {package.version}, which requirements/service.txt does not: "
                "build it again from this source"
            )
        components.append(_component(package, hashes[package.name, package.version]))
    release = contents.release
    service = f"pkg:generic/slipway@{release['release']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{service}#{base}')}",
        "version": 1,
        "metadata": {
            "timestamp": release["created_at"],
            "component": {
                "type": "application",
                "bom-ref": service,
                "name": "slipway",
                "version": release["release"],
                "hashes": _hashes([release["digest"].removeprefix("sha256:")]),
            },
        },
        "components": [*components, *_foundations(contents, base)],
        "dependencies": [{"ref": service, "dependsOn": [component["bom-ref"] for component in components]}],
    }


def licence_list(contents: Contents, base: str) -> str:
    """The licences of all packages, as Markdown: how many of each, and then each."""
    counts = Counter(package.licence for package in contents.packages)
    lines = [
        f"# Licences in the image of release {contents.release['release']}",
        "",
        f"{len(contents.packages)} packages besides the service, as they state it themselves; the full texts are in",
        f"/app/packages/*.dist-info. Those of the base ({base}, Python {contents.python}) are in /usr/share/doc there.",
        "",
        "| licence | packages |",
        "|---|---|",
        *(
            f"| {_cell(licence)} | {count} |"
            for licence, count in sorted(counts.items(), key=lambda one: (-one[1], one))
        ),
        "",
        "| package | version | licence |",
        "|---|---|---|",
        *(f"| {package.name} | {package.version} | {_cell(package.licence)} |" for package in contents.packages),
    ]
    return "\n".join(lines) + "\n"


def _package(told: dict[str, Any]) -> Package:
    licence, is_expression = _licence(told)
    return Package(_normal(told["name"]), told["version"], licence, is_expression)


def _licence(told: dict[str, Any]) -> tuple[str, bool]:
    """The best that the package's metadata say, and whether it is an SPDX expression."""
    if told["expression"]:
        return told["expression"][0], True
    classified = [one.removeprefix(CLASSIFIER) for one in told["classifiers"] if one.startswith(CLASSIFIER)]
    if classified:
        return "; ".join(sorted(classified)), False
    first_line = "".join(told["license"][:1]).strip().partition("\n")[0]
    return first_line or "not stated", False


def _component(package: Package, hashes: list[str]) -> dict[str, Any]:
    licence = {"expression": package.licence} if package.is_expression else {"license": {"name": package.licence}}
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": _hashes(hashes),
        "licenses": [licence],
    }


def _foundations(contents: Contents, base: str) -> list[dict[str, Any]]:
    """Python and the base image."""
    digest = DIGEST.search(base)
    image = {"type": "container", "bom-ref": f"base:{base}", "name": base.partition("@")[0]}
    return [
        {"type": "platform", "bom-ref": f"python:{contents.python}", "name": "CPython", "version": contents.python},
        image | ({"version": digest[0][1:], "hashes": _hashes([digest[1]])} if digest else {}),
    ]


def _hashes(digests: list[str]) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest} for digest in digests]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
