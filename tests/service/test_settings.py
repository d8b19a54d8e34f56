import inspect
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from infra import contract
from service.errors import SettingsError
from service.settings import BootstrapSettings, MigrationSettings, ProcessSettings, Settings

GOOD = {
    "SLIPWAY_DATABASE_URL": "postgresql://slipway_app@/slipway?host=/run",
    "SLIPWAY_CACHE_URL": "unix:///run/valkey.sock",
    "SLIPWAY_TOKEN_KEYS": "{}",
    "SLIPWAY_MAIL_URL": "outbox:///var/outbox",
    "SLIPWAY_MAIL_FROM": "Slipway <no-reply@example.com>",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SLIPWAY_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_defaults_are_the_strictest() -> None:
    settings = Settings.load()
    assert settings.environment == "production"
    assert not settings.serves_docs
    assert settings.body_limit_bytes == 1024 * 1024


@pytest.mark.parametrize(("environment", "docs", "served"), [("local", "", True), ("production", "true", True)])
def test_docs_follow_the_environment_unless_told(
    monkeypatch: pytest.MonkeyPatch, *, environment: str, docs: str, served: bool
) -> None:
    monkeypatch.setenv("SLIPWAY_ENVIRONMENT", environment)
    if docs:
        monkeypatch.setenv("SLIPWAY_DOCS", docs)
    assert Settings.load().serves_docs is served


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SLIPWAY_DATABASE_POOLSIZE", "SLIPWAY_DATABASE_POOL_SIZE"),
        ("SLIPWAY_ENVIROMENT", "SLIPWAY_ENVIRONMENT"),
        ("slipway_cache_ulr", "SLIPWAY_CACHE_URL"),
    ],
)
def test_unknown_variable_stops_and_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv(written, "1")
    with pytest.raises(SettingsError, match=rf"unknown setting {written.upper()}: did you mean {meant}\?"):
        Settings.load()


def test_unknown_secret_file_stops_and_names_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLIPWAY_SECRETS_DIR", str(tmp_path))
    (tmp_path / "slipway_databas_password").write_text("x")
    (tmp_path / "somebody_elses").write_text("x")
    with pytest.raises(SettingsError, match=r"slipway_databas_password: did you mean slipway_database_password\?"):
        Settings.load()


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLIPWAY_SECRETS_DIR", str(tmp_path))
    (tmp_path / "slipway_database_password").write_text("s3cret\n")
    settings = Settings.load()
    assert settings.database_password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_missing_secrets_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SECRETS_DIR", "/nowhere")
    with pytest.raises(SettingsError, match=r"SLIPWAY_SECRETS_DIR=/nowhere is not a folder"):
        Settings.load()


def test_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_CACHE_URL")
    with pytest.raises(SettingsError, match="SLIPWAY_CACHE_URL is not set: set it or add the file slipway_cache_url"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("SLIPWAY_DATABASE_URL", "mysql://x", "must start with postgresql://"),
        ("SLIPWAY_DATABASE_URL", "postgresql://u:hunter2@h/d", "holds a password"),
        ("SLIPWAY_CACHE_URL", "http://x", "must start with unix://"),
        ("SLIPWAY_CACHE_URL", "redis://:hunter2@x", "holds a password: move it to the secret cache_password"),
        ("SLIPWAY_CACHE_URL", "redis://x:hunter2", "is no URL: look at its host and port"),
        ("SLIPWAY_CACHE_URL", "redis://x/first", "must name a host, and a database by its number"),
        ("SLIPWAY_CACHE_URL", "redis://", "must name a host"),
        ("SLIPWAY_CACHE_URL", "unix://", "must name a socket"),
        ("SLIPWAY_CACHE_URL", "rediss://x?ssl_cert_reqs=none", "has a parameter ssl_cert_reqs, but only db"),
        ("SLIPWAY_LIMIT_ACCOUNT", "often", "must be attempts per time, as 10/minute or 100/15 minutes"),
        ("SLIPWAY_LIMIT_ACCOUNT", "10/fortnight", "must be attempts per time"),
        ("SLIPWAY_LIMIT_LOGIN_PAIR", "0/minute", "must be attempts per time"),
        ("SLIPWAY_LIMIT_LOGIN_PAIR", "1/second;10/minute", "must be attempts per time"),
        ("SLIPWAY_TRUSTED_PROXIES", "10.0.0.0/8, proxy", "proxy is no network; write 10.0.0.0/8"),
        ("SLIPWAY_TRUSTED_PROXIES", "10.0.0.1/8", "10.0.0.1/8 is no network"),
        ("SLIPWAY_MAIL_URL", "mailto:x", "must start with outbox://"),
        ("SLIPWAY_MAIL_URL", "smtp://user:hunter2@x", "holds a password: move it to the secret mail_password"),
        ("SLIPWAY_MAIL_URL", "smtp://", "must name a host"),
        ("SLIPWAY_MAIL_URL", "outbox://folder", "must name a folder: outbox:///folder"),
        ("SLIPWAY_MAIL_URL", "outbox://", "must name a folder"),
        ("SLIPWAY_MAIL_FROM", "nobody", "must be one address"),
        ("SLIPWAY_MAIL_FROM", "a@b.c\nBcc: d@e.f", "must be one address"),
        ("SLIPWAY_ENVIRONMENT", "prod", "Input should be 'local', 'dev', 'staging' or 'production'"),
        ("SLIPWAY_DATABASE_POOL_SIZE", "0", "greater than 0"),
        ("SLIPWAY_HEALTH_TIMEOUT_SECONDS", "1", "less than 1"),
    ],
)
def test_wrong_value_is_named_but_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert str(caught.value).startswith(f"{name}: ")
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "field", "meant"),
    [
        ("SLIPWAY_CACHE_URL", "rediss://valkey:6380/1?ssl_ca_certs=/ca.pem", "cache_url", None),
        ("SLIPWAY_LIMIT_LOGIN_PAIR", "3 per 2 hours", "limit_login_pair", None),
        ("SLIPWAY_TRUSTED_PROXIES", "", "trusted_proxies", ()),
        (
            "SLIPWAY_TRUSTED_PROXIES",
            " 10.0.0.0/8,fd00::/8 , unix",
            "trusted_proxies",
            ("10.0.0.0/8", "fd00::/8", "unix"),
        ),
        ("SLIPWAY_MAIL_URL", "smtps://user@mail.example.com:465", "mail_url", None),
        ("SLIPWAY_MAIL_FROM", '"Slipway, Ltd." <no-reply@example.com>', "mail_from", None),
    ],
)
def test_right_values_are_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, meant: object
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(Settings.load(), field) == (value if meant is None else meant)


def test_a_mail_password_does_not_travel_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_MAIL_TLS", "false")
    monkeypatch.setenv("SLIPWAY_MAIL_PASSWORD", "hunter2")
    with pytest.raises(SettingsError, match="SLIPWAY_MAIL_TLS is false, so mail_password would travel") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("settings", [Settings, MigrationSettings, BootstrapSettings])
def test_every_setting_is_described(settings: type[ProcessSettings]) -> None:
    assert [name for name, setting in settings.model_fields.items() if not setting.description] == []


def test_hosts_speak_of_settings_that_exist() -> None:
    processes: dict[str, type[ProcessSettings]] = {
        "api": Settings,
        "migration": MigrationSettings,
        "bootstrap": BootstrapSettings,
    }
    for process, files in contract.SECRET_FILES.items():
        known = {f"slipway_{name}" for name in processes[process].model_fields}
        assert set(files) <= known
    told: dict[str, Any] = {
        "api": contract.api_settings,
        "migration": contract.job_settings,
        "bootstrap": contract.job_settings,
    }
    for process, settings in processes.items():
        variables = told[process](**dict.fromkeys(inspect.signature(told[process]).parameters, ""))
        assert {name.lower() for name in variables} <= {f"slipway_{name}" for name in settings.model_fields}
    known = {f"slipway_{name}" for name in Settings.model_fields}
    secret = {f"slipway_{name}" for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert set(contract.SECRET_FILES["api"]) | set(contract.OPTIONAL_SECRET_FILES["api"]) == secret
    assert {name.lower() for name in contract.PLACED_SETTINGS} - {contract.SECRETS_DIR_SETTING.lower()} < known
    assert secret <= {name.lower() for name in contract.SECRET_SETTINGS}
