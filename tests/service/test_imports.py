"""What the API process loads, and in which direction its modules know one another."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = Path(__file__).resolve().parents[2] / "service"

# From the bottom up: a module knows only those before it. `imports` and `errors` know nobody.
LAYERS = [
    {
        "errors",
        "imports",
        "setting_types",
        "http.client_address",
        "rate_limits.standing",
        "slots",
        "pool",
        "http.cors",
        "http.examples",
        "http.compression",
        "http.security_headers",
        "accounts.common_passwords",
        "healthcheck",
    },
    {"turns", "http.bodies", "http.body_limit", "http.conditional", "http.heads"},
    {"settings", "migrations.schema_range", "http.routing", "http.problems"},
    {"connecting", "release", "logs", "mail.transports", "http.documentation"},
    {"database"},
    {"outages", "metrics"},
    {"cache", "mail.queue", "mail.message"},
    {"rate_limits.leases", "rate_limits.windows", "mail.delivery"},
    {"rate_limits.limits", "probe", "telemetry", "http.envelope"},
    {"pagination", "migrations.bootstrap"},
    {"accounts.models", "accounts.passwords"},
    {"accounts.tokens", "accounts.store", "migrations.migrate"},
    {"accounts.sessions", "accounts.mail_tokens", "accounts.admin", "idempotency"},
    {"accounts.letters", "migrations.upgrade"},
    {"parts"},
    {"accounts.routes", "health"},
    {"accounts.me"},
    {"categories.models"},
    {"categories.store"},
    {"categories.routes"},
    {"tasks.models"},
    {"tasks.store", "tasks.queries"},
    {"tasks.lists", "tasks.statistics", "tasks.bulk"},
    {"tasks.routes", "tasks.category_routes"},
    {"export.models"},
    {"export.store"},
    {"export.routes"},
    {"housekeeping"},
    {"main"},
    {"http.protocol"},
    {"worker", "server"},
]


def test_modules_know_only_lower_layers() -> None:
    rank = {module: height for height, layer in enumerate(LAYERS) for module in layer}
    found = set()
    for path in SERVICE.rglob("*.py"):
        module = ".".join(path.relative_to(SERVICE).with_suffix("").parts)
        if path.name in {"__init__.py", "env.py"} or "versions" in path.parts:
            continue
        found.add(module)
        for node in ast.walk(ast.parse(path.read_text())):
            for known in _imported(node):
                if module == "migrations.upgrade" and known == "tasks.models":
                    continue  # `check` compares the models with the database
                if module == "migrations.migrate":
                    continue  # the command line reaches for the job's parts
                assert rank[known] < rank[module], f"{module} must not know {known}"
    assert found == set(rank)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("service"):
        base = node.module.removeprefix("service").lstrip(".")
        names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
        modules = [name for name in names if (SERVICE / (name.replace(".", "/") + ".py")).exists()]
        return modules or [base]
    if isinstance(node, ast.Import):
        return [alias.name.removeprefix("service.") for alias in node.names if alias.name.startswith("service.")]
    return []


@pytest.mark.parametrize("kind", ["store", "models", "tokens", "passwords", "sessions", "mail_tokens", "letters"])
def test_rules_know_no_http(kind: str) -> None:
    for path in SERVICE.rglob(f"{kind}.py"):
        assert "fastapi" not in path.read_text()
        assert "starlette" not in path.read_text()


def test_api_loads_nothing_it_does_not_need() -> None:
    program = "import service.main, service.worker, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    unwanted = {"alembic", "mako", "rich", "pygments", "pydantic.v1", "dns", "websockets", "wsproto", "aiosmtplib"}
    assert unwanted & set(loaded) == set()
    assert not any(name.startswith("sqlalchemy.ext.asyncio") for name in loaded)
