"""`python -m infra.configuration_document`: writes docs/configuration.md from what the code knows of each key."""

from pathlib import Path
from typing import Final

from infra.stack import KINDS, Key, keys

DOCUMENT: Final = Path("docs", "configuration.md")
_HEAD: Final = f"""# Configuration

What stands in `Pulumi.<environment>.yaml`. Written by `python -m infra.configuration_document`; a test holds it to the
code. An unknown key, a wrong type or two keys that cannot stand together fail the preview with one line.

```console
$ pulumi config set --stack staging --path slipway:api.replicas 3
```

The kind of an environment ({", ".join(KINDS)}) says whose rules hold. Outside dev, `image` is a digest and mail goes to
a server. In production all images are digests, `api.replicas` is 2 or more, alerts reach somebody, and the database's
volumes outlive the stack. Everywhere, a rollout must fit into the database:
(`api.replicas` + 1) x `api.workers` x `api.poolSize` + 3 for jobs + 2 for the exporter, at most
`database.maxConnections` - `database.reservedConnections`.
"""
_SECRETS: Final = """
## Secrets

Encrypted in the file, by passphrase or by whatever `pulumi stack init --secrets-provider` was given (a key management
service, for instance). `slipway init` makes those that can be made up; the others:

```console
$ pulumi config set --stack staging --secret slipway:mailPassword
```
"""


def document() -> str:
    """The whole page."""
    plain = [key for key in keys() if not key.secret]
    secret = [key for key in keys() if key.secret]
    return f"{_HEAD}\n{_table(plain)}{_SECRETS}\n{_table(secret)}"


def _table(rows: list[Key]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key.name}` | {key.type} | {_default(key)} | {key.meaning} |" for key in rows]
    return "\n".join(lines) + "\n"


def _default(key: Key) -> str:
    return key.default if key.default.startswith("(") else f"`{key.default}`"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
