"""Every setting of the service's processes, once: type, unit, default, meaning, secret or not.

Values come from environment variables (`SLIPWAY_` and the field's name) or from files of the folder that
`SLIPWAY_SECRETS_DIR` names (a file's name is the variable's, in lower case). A variable or file with our prefix that no
setting answers to stops the start and names the nearest right one: a misspelled setting is never ignored.
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import SettingsError
from service.setting_types import CacheUrl, Limit, MailUrl, Origins, Proxies, PublicUrl, Sender

PREFIX = "SLIPWAY_"
SECRETS_DIR_VARIABLE = "SLIPWAY_SECRETS_DIR"

Environment = Literal["local", "dev", "staging", "production"]


class ProcessSettings(BaseSettings):
    """What every process of the service is told: where it runs and how to reach PostgreSQL."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    environment: Environment = Field("production", description="where this runs; unset means the strictest, production")
    database_url: str = Field(
        description="postgresql://user@host:5432/database or postgresql://user@/database?host=/socket/folder"
    )
    database_password: SecretStr = Field(SecretStr(""), description="password of the URL's user; empty for none")
    database_tls: bool = Field(
        default=True,
        description="false: to another host without TLS where it has none, and unverified; on a private network only",
    )
    database_ca_file: Path | None = Field(
        None, description="certificates that vouch for PostgreSQL on another host; unset: the system's"
    )
    database_connect_timeout_seconds: PositiveFloat = Field(2.0, description="longest wait for one connection")
    database_start_wait_seconds: Annotated[float, Field(ge=0)] = Field(
        10.0, description="how long a starting process retries an unreachable PostgreSQL before it gives up"
    )
    release_file: Path | None = Field(
        None, description="the release manifest; unset: release.json beside the service folder, if there is one"
    )

    @field_validator("database_url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        if ":" in url.partition("://")[2].rpartition("@")[0]:
            raise ValueError("holds a password: move it to the secret database_password")
        parts = urlsplit(url)
        parameters = parse_qs(parts.query, keep_blank_values=True)
        if not parts.netloc.rpartition("@")[2] and not parameters.get("host"):
            raise ValueError("names no host: write user@host/database or user@/database?host=/socket/folder")
        weaker = sorted(name for name in parameters if name.startswith("ssl") and parameters[name] != ["verify-full"])
        if weaker:
            raise ValueError(
                f"sets {weaker[0]}: what there is to say of TLS stands in database_tls and database_ca_file"
            )
        return url

    @classmethod
    def load(cls) -> Self:
        """Read the settings of this process.

        Raises:
            SettingsError: one line that names every wrong, missing or unknown setting. Values are never shown: they
                may be secrets.
        """
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if folder and not Path(folder).is_dir():
            raise SettingsError(f"{SECRETS_DIR_VARIABLE}={folder} is not a folder: create it or unset the variable")
        cls._refuse_unknown(_variables(), PREFIX)
        cls._refuse_unknown(_secret_files(folder), PREFIX.lower())
        try:
            return cls(_secrets_dir=folder)
        except ValidationError as error:
            raise SettingsError("; ".join(_line(detail) for detail in error.errors(include_input=False))) from None
        except OSError as error:
            raise SettingsError(f"cannot read the secrets in {folder}: {error.strerror}") from None

    @classmethod
    def _refuse_unknown(cls, names: Iterable[str], prefix: str) -> None:
        known = {prefix + (name.upper() if prefix.isupper() else name) for name in cls.model_fields}
        known |= {SECRETS_DIR_VARIABLE} if prefix.isupper() else set()
        for name in sorted(set(names) - known):
            nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
            raise SettingsError(f"unknown setting {name}: did you mean {nearest[0]}?")


class Settings(ProcessSettings):
    """The API's settings."""

    # PostgreSQL. Connections of one environment: (old + new replicas) x workers x database_pool_size.
    database_pool_size: PositiveInt = Field(8, description="most connections of one worker")
    database_deadline_seconds: PositiveFloat = Field(
        1.8, description="longest a request waits for a connection and its answer; then 503 with Retry-After"
    )
    database_long_deadline_seconds: PositiveFloat = Field(
        30.0, description="longest the deletion of an account or a category may take, with all its tasks"
    )
    database_statement_timeout_seconds: PositiveFloat = Field(5.0, description="PostgreSQL ends a longer statement")
    database_idle_transaction_timeout_seconds: PositiveFloat = Field(
        10.0, description="PostgreSQL ends a session that leaves a transaction open for longer"
    )
    database_recycle_seconds: PositiveFloat = Field(
        300.0, description="a connection of about this age is closed when nobody uses it"
    )

    housekeeping_seconds: PositiveFloat = Field(
        300.0, description="how often, about, each worker looks for rows that nobody needs any more"
    )

    # Valkey
    cache_url: CacheUrl = Field(
        description="unix:///path/valkey.sock, redis://host:6379/0 or rediss:// for TLS; no password"
    )
    cache_password: SecretStr = Field(SecretStr(""), description="password of Valkey's default user; empty for none")
    cache_timeout_seconds: PositiveFloat = Field(
        0.2, description="longest one call may take; after one that fails, nobody waits until a probe succeeds"
    )
    cache_pool_size: PositiveInt = Field(8, description="most connections of one worker to Valkey")

    # Rate limits: attempts per time, as 10/minute or 100/15 minutes; what each one counts stands in rate_limits.py
    limit_account: Limit = Field("600/minute", description="requests of one account, but those limited below")
    limit_login_address: Limit = Field("100/5 minutes", description="logins from one client address")
    limit_login_pair: Limit = Field("10/5 minutes", description="logins to one account from one client address")
    limit_login_account: Limit = Field("100/15 minutes", description="logins to one account, from anywhere")
    limit_registration_address: Limit = Field("60/hour", description="registrations from one client address")
    limit_reset_address: Limit = Field("20/hour", description="password reset requests from one client address")
    limit_reset_account: Limit = Field("5/hour", description="password reset requests for one account")
    limit_resend_address: Limit = Field("20/hour", description="verification mails asked for from one client address")
    limit_resend_account: Limit = Field("5/hour", description="verification mails asked for by one account")
    limit_confirmation_address: Limit = Field(
        "60/hour", description="tokens from mails (verification, reset) sent in from one client address"
    )
    limit_refresh_address: Limit = Field("300/5 minutes", description="token refreshes from one client address")
    trusted_proxies: Proxies = Field(
        (),
        description="networks (10.0.0.0/8, fd00::/8) whose X-Forwarded-For is believed, with commas between; "
        "the word unix: whoever connects over a UNIX socket",
    )

    # Mail
    mail_url: MailUrl = Field(
        description="outbox:///folder, smtp://user@host:587 (STARTTLS) or smtps://user@host:465; no password"
    )
    mail_password: SecretStr = Field(SecretStr(""), description="password of the URL's user; empty for none")
    mail_from: Sender = Field(description="sender of every mail: no-reply@example.com or Name <no-reply@example.com>")
    mail_tls: bool = Field(default=True, description="false: smtp:// without STARTTLS, on a private network only")
    mail_ca_file: Path | None = Field(
        None, description="certificates that vouch for the mail server; unset: the system's"
    )
    mail_timeout_seconds: PositiveFloat = Field(20.0, description="longest one mail may take to be handed over")
    mail_poll_seconds: PositiveFloat = Field(5.0, description="how often each worker looks for mail that is due")
    mail_give_up_days: PositiveFloat = Field(3.0, description="a mail that cannot be handed over for longer is dropped")

    # Tokens and passwords
    token_keys: SecretStr = Field(
        description='key ring: {"signing": kid, "keys": [{"kid", "alg", "key"}]}; alg HS256 with a key of 32 bytes or '
        "more, or EdDSA with the 32 bytes of an Ed25519 private key, or with those of a public one as `public` instead "
        "of `key`, which then only verifies; all in base64url"
    )
    token_issuer: str = Field("slipway", description="the iss claim that tokens carry and must carry")
    token_audience: str = Field("slipway-api", description="the aud claim that tokens carry and must carry")
    token_lifetime_seconds: PositiveInt = Field(900, description="how long an access token is good for")
    session_lifetime_seconds: PositiveInt = Field(
        30 * 24 * 3600, description="how long a refresh token is good for; each refresh begins it anew"
    )
    login_needs_verified_email: bool = Field(
        default=False, description="refuse the login of accounts whose e-mail is not verified"
    )
    public_url: PublicUrl | None = Field(
        None,
        description="front end to which links in mails lead, with /verify-email or /reset-password and #token=... "
        "added; unset: mails hold the token alone",
    )
    password_memory_kib: Annotated[int, Field(ge=8)] = Field(32768, description="memory of one Argon2id hash")
    password_passes: PositiveInt = Field(2, description="passes of one Argon2id hash over its memory")
    password_threads: PositiveInt = Field(1, description="hashes that one worker computes at once")
    password_queue_length: PositiveInt = Field(32, description="hashes that may wait in one worker; then 503")

    # Telemetry: traces need the extra slipway[telemetry]
    sentry_dsn: SecretStr = Field(SecretStr(""), description="where unforeseen errors are reported; empty for nowhere")
    traces_url: str | None = Field(
        None, description="where traces go, OTLP over HTTP: http://collector:4318/v1/traces; unset for nowhere"
    )
    traces_ratio: Annotated[float, Field(ge=0, le=1)] = Field(0.05, description="share of requests that are traced")

    # HTTP
    body_limit_bytes: PositiveInt = Field(1024 * 1024, description="largest request body; then 413")
    cors_origins: Origins = Field(
        (), description="origins (https://app.example.com) whose pages may call the API, with commas between"
    )
    url_limit_bytes: PositiveInt = Field(8192, description="longest path with query; then 414")
    header_limit_bytes: PositiveInt = Field(16384, description="all headers of a request together; then 431")
    header_limit_count: PositiveInt = Field(100, description="most headers of a request; then 431")
    header_timeout_seconds: PositiveFloat = Field(10.0, description="longest a request's headers may take; then 408")
    body_timeout_seconds: PositiveFloat = Field(30.0, description="longest a request's body may take; then 408")
    health_timeout_seconds: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.8, description="longest wait for one dependency in /health/ready, which answers within a second"
    )
    docs: bool | None = Field(None, description="serve /docs and /openapi.json; unset: everywhere but in production")
    lame_duck_seconds: Annotated[float, Field(ge=0, le=20)] = Field(
        1.0, description="how long a stopping worker still answers on idle kept-alive connections"
    )

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        if self.mail_password.get_secret_value() and not self.mail_tls:
            raise ValueError(
                "SLIPWAY_MAIL_TLS is false, so mail_password would travel in the clear: remove one of them"
            )
        return self

    @property
    def serves_docs(self) -> bool:
        """Whether /docs and /openapi.json exist."""
        return self.environment != "production" if self.docs is None else self.docs


class MigrationSettings(ProcessSettings):
    """The migration job's settings; its database user is the owner of the schema."""

    migration_lock_wait_seconds: PositiveFloat = Field(
        60.0, description="longest wait for another migration job to finish"
    )
    migration_lock_timeout_seconds: PositiveFloat = Field(
        5.0, description="longest a migration's statement waits for a table lock, with all traffic queueing behind it"
    )
    migration_statement_timeout_seconds: PositiveFloat = Field(
        600.0, description="longest one statement of a migration may take"
    )


class BootstrapSettings(ProcessSettings):
    """Settings of `slipway-migrate bootstrap`; its database user is an administrator of the server."""

    admin_password: SecretStr = Field(SecretStr(""), description="password of the URL's user, the administrator")
    migrator_password: SecretStr = Field(description="password that the schema's owner gets")
    app_password: SecretStr = Field(description="password that the API's role gets")
    monitor_password: SecretStr = Field(description="password that the read-only role gets")


def _variables() -> list[str]:
    return [name.upper() for name in os.environ if name.upper().startswith(PREFIX)]


def _secret_files(folder: str | None) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if path.name.startswith(PREFIX.lower())] if folder else []


def _line(detail: Any) -> str:
    name = PREFIX + str(detail["loc"][0]).upper() if detail["loc"] else "settings"
    if detail["type"] == "missing":
        return f"{name} is not set: set it or add the file {name.lower()} to the folder {SECRETS_DIR_VARIABLE}"
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}"
