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

IMAGE_UID: Final = 10001
"""User and group that every process of the image runs as."""
IMAGE_RELEASE_FILE: Final = "/app/release.json"
IMAGE_SECRETS_DIR: Final = "/run/secrets"
HEALTH_COMMAND: Final = ("python", "-m", "service.healthcheck")
"""Asks on DEFAULT_PORT; prints the reason and ends with 1 where the answer is not 200. READY_PATH for the first
HEALTH_WATCHED_SECONDS of readiness, LIVE_PATH from then on; it waits for a better answer for up to
HEALTH_PATIENCE_SECONDS."""
HEALTH_WATCHED_SECONDS: Final = 60
HEALTH_PATIENCE_SECONDS: Final = 30
BOOTSTRAP_COMMAND: Final = ("python", "-m", MIGRATION_MODULE, "bootstrap", "--database", DATABASE_NAME)
MIGRATION_COMMAND: Final = ("python", "-m", MIGRATION_MODULE, "upgrade")

DATABASE_LOG_SETTINGS: Final = {
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1s",
    # No value of a statement, slow or failing, must end in the log: neither a password nor a line that looks like ours.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_statement": "none",
}
"""What PostgreSQL writes into its log, wherever it runs for us."""

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
OPTIONAL_SECRET_FILES: Final[dict[str, dict[str, str]]] = {
    "api": {"slipway_mail_password": "mail_password", "slipway_sentry_dsn": "sentry_dsn"}
}
"""The same, of secrets that an environment may do without."""
SECRET_SETTINGS: Final = frozenset(
    file.upper() for process in (SECRET_FILES, OPTIONAL_SECRET_FILES) for files in process.values() for file in files
)
"""Settings that are secrets, as environment variables would name them: they never are any."""
PLACED_SETTINGS: Final = frozenset(
    {
        "SLIPWAY_ENVIRONMENT",
        "SLIPWAY_DATABASE_URL",
        "SLIPWAY_DATABASE_TLS",
        "SLIPWAY_DATABASE_CA_FILE",
        "SLIPWAY_DATABASE_POOL_SIZE",
        "SLIPWAY_CACHE_URL",
        "SLIPWAY_MAIL_URL",
        "SLIPWAY_MAIL_FROM",
        "SLIPWAY_RELEASE_FILE",
        "SLIPWAY_TRUSTED_PROXIES",
        SECRETS_DIR_SETTING,
    }
)
"""Settings that follow from where a process is placed: nobody sets them by hand."""


def api_command(port: int = DEFAULT_PORT, workers: int = 2) -> tuple[str, ...]:
    """The API's command line in the image: a gunicorn master with so many workers."""
    server = ("python", "-m", "gunicorn", "--config", "python:service.server")
    return (*server, "--bind", f"0.0.0.0:{port}", "--workers", str(workers), API_MODULE)


def api_settings(
    *, environment: str, database_url: str, cache_url: str, mail_url: str, mail_from: str, release_file: str
) -> dict[str, str]:
    """The settings the API needs besides its secret files, as environment variables."""
    return {
        "SLIPWAY_ENVIRONMENT": environment,
        "SLIPWAY_DATABASE_URL": database_url,
        "SLIPWAY_CACHE_URL": cache_url,
        "SLIPWAY_MAIL_URL": mail_url,
        "SLIPWAY_MAIL_FROM": mail_from,
        "SLIPWAY_RELEASE_FILE": release_file,
    }


def job_settings(*, environment: str, database_url: str) -> dict[str, str]:
    """The settings the migration job (and its bootstrap) needs besides its secret files.

    It finds the release's manifest beside its own source, as in the image.
    """
    return {"SLIPWAY_ENVIRONMENT": environment, "SLIPWAY_DATABASE_URL": database_url}
