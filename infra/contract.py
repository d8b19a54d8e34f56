"""What the service asks of any host, as data: commands, ports, paths, settings and secret files.

Every target reads it here; the service itself is never imported. The other side of each line is
`service/settings.py`, and a test holds the two together.
"""

from typing import Final

API_MODULE: Final = "service.main:create_app()"
MIGRATION_MODULE: Final = "service.migrations.migrate"

API_PREFIX: Final = "/api/v1"
LIVE_PATH: Final = "/health/live"
READY_PATH: Final = "/health/ready"
VERSION_PATH: Final = "/version"
DOCS_PATH: Final = "/docs"

DEFAULT_PORT: Final = 8000
START_SECONDS: Final = 30
"""How long a process may take from its start to its first 200 on READY_PATH."""
DRAIN_SECONDS: Final = 30
"""How long a worker may take to finish what is in flight after SIGTERM."""
DISK_BYTES: Final = 1 << 30
"""What an environment with the load dataset needs: 200,000 tasks, their indexes and the write-ahead log."""

DATABASE_NAME: Final = "slipway"
ADMIN_ROLE: Final = "slipway_admin"
"""The cluster's superuser: makes the database and the roles, then rests."""
MIGRATOR_ROLE: Final = "slipway_migrator"
"""Owns the schema; the migration job's role."""
APP_ROLE: Final = "slipway_app"
"""Reads and writes rows, changes no schema; the API's role."""
MONITOR_ROLE: Final = "slipway_monitor"
"""Reads statistics and rows, writes nothing."""

SECRETS_DIR_SETTING: Final = "SLIPWAY_SECRETS_DIR"
SECRET_FILES: Final[dict[str, dict[str, str]]] = {
    "api": {
        "slipway_database_password": "app_password",
        "slipway_cache_password": "cache_password",
        "slipway_token_keys": "token_keys",
    },
    "migration": {"slipway_database_password": "migrator_password"},
    "bootstrap": {
        "slipway_admin_password": "admin_password",
        "slipway_migrator_password": "migrator_password",
        "slipway_app_password": "app_password",
        "slipway_monitor_password": "monitor_password",
    },
}
"""For each process that reads secrets: the file it finds in its secrets folder, and the secret behind it."""


def api_settings(*, environment: str, database_url: str, cache_url: str, release_file: str) -> dict[str, str]:
    """The settings the API needs besides its secret files, as environment variables."""
    return {
        "SLIPWAY_ENVIRONMENT": environment,
        "SLIPWAY_DATABASE_URL": database_url,
        "SLIPWAY_CACHE_URL": cache_url,
        "SLIPWAY_RELEASE_FILE": release_file,
    }


def job_settings(*, environment: str, database_url: str) -> dict[str, str]:
    """The settings the migration job (and its bootstrap) needs besides its secret files.

    It finds the release's manifest beside its own source, as in the image.
    """
    return {"SLIPWAY_ENVIRONMENT": environment, "SLIPWAY_DATABASE_URL": database_url}
