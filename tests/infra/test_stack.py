import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import contract, stack
from infra.stack import Stack, StackError, connection_budget, keys, read
from infra.stack_budget import EXPORTER, JOBS, LEAVING

DIGEST = "registry.example.com/slipway@sha256:" + "a" * 64
PASSWORDS = {name: "p" * 32 for name, secret in stack.SECRETS.items() if secret.password}
SECRETS = PASSWORDS | {"tokenKeys": '{"signing": "k"}'}
MAIL = {"url": "smtps://slipway@mail.example.com:465", "from": "no-reply@example.com"}
SOUND: dict[str, dict[str, Any]] = {
    "dev": {},
    "staging": {"image": DIGEST, "mail": MAIL},
    "production": {"image": DIGEST, "mail": MAIL, "uptime": {"alertMailTo": "ops@example.com"}},
}

TOO_FEW = (
    "slipway:database.maxConnections leaves too few connections: (3 new replicas + 3 old) x 4 workers x 10 connections "
    "+ 3 jobs + 2 exporter = 245, and 100 connections - 10 reserved = 90: raise maxConnections, or lower "
    "api.replicas, api.workers or api.poolSize"
)


def checked(environment: str = "dev", without: tuple[str, ...] = (), **config: Any) -> Stack:
    told = SECRETS | SOUND[environment if environment in SOUND else "staging"] | config
    told = {key: value for key, value in told.items() if key not in without}
    return read(told, {key for key in told if key in stack.SECRETS}, environment)


def refusal(environment: str = "dev", without: tuple[str, ...] = (), **config: Any) -> str:
    with pytest.raises(StackError) as caught:
        checked(environment, without, **config)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("environment", ["dev", "staging", "production"])
def test_a_sound_configuration_is_one_object(environment: str) -> None:
    found = checked(environment)
    assert (found.environment, found.kind) == (environment, environment)
    assert found.secrets == set(SECRETS)


def test_sections_may_be_json_as_pulumi_hands_them_over() -> None:
    assert checked(api=json.dumps({"replicas": 3, "poolSize": "4"})).api.pool_size == 4


def test_an_environment_of_another_name_says_whose_rules_hold() -> None:
    assert checked("qa", kind="staging").kind == "staging"
    assert refusal("qa") == (
        "slipway:kind is not set, and qa is no kind by itself: choose one of dev, staging, production"
    )


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"imag": "x"}, "slipway:imag is unknown: did you mean image?; the keys are adminPassword,"),
        (
            {"api": {"replicaz": 2}},
            "slipway:api.replicaz is unknown: did you mean replicas?; its section has cpus, memoryMib, poolSize, ",
        ),
        (
            {"api": 3},
            "slipway:api must be a section with cpus, memoryMib, poolSize, replicas, settings, workers, not 3",
        ),
        ({"api": {"replicas": "x"}}, "slipway:api.replicas: input should be a valid integer"),
        ({"api": {"replicas": 0}}, "slipway:api.replicas: input should be greater than or equal to 1, not 0"),
        ({"kind": "qa"}, "slipway:kind: input should be 'dev', 'staging' or 'production', not 'qa'"),
        ({"edge": {"tls": "none"}}, "slipway:edge.tls: input should be 'automatic' or 'internal', not 'none'"),
        ({"edge": {"httpPort": 70000}}, "slipway:edge.httpPort: must be a port from 1 to 65535, not 70000"),
        ({"edge": {"httpPort": 443}}, "slipway:edge.httpsPort and edge.httpPort are both 443: choose two ports"),
        ({"edge": {"domain": "Tasks Inc"}}, "slipway:edge.domain 'Tasks Inc' is no domain name"),
        ({"edge": {"tls": "automatic"}}, "slipway:edge.tls is automatic, but nobody vouches for localhost"),
        ({"edge": {"tls": "automatic", "domain": "a.example.com"}}, "slipway:edge.acmeEmail is not set"),
        (
            {"edge": {"tls": "automatic", "domain": "a.example.com", "acmeEmail": "a@b.c", "httpsPort": 8443}},
            "slipway:edge.tls is automatic, so Let's Encrypt must reach ports 443 and 80",
        ),
        (
            {"edge": {"tls": "automatic", "domain": "a.example.com", "acmeEmail": "a@b.c", "replicas": 2}},
            "slipway:edge.replicas: with edge.tls automatic each edge asks for its own certificate",
        ),
        ({"database": {"mode": "sqlite"}}, "slipway:database.mode: input should be 'container' or 'external'"),
        (
            {"database": {"caFile": "x.pem"}},
            "slipway:database.caFile is for mode external: choose external, or remove it",
        ),
        ({"database": {"memoryMib": 128}}, "slipway:database.memoryMib is 128: PostgreSQL needs 256 or more"),
        ({"database": {"storage": "a b"}}, "slipway:database.storage 'a b' is no volume's name"),
        (
            {"database": {"maxConnections": 10, "reservedConnections": 10}},
            "slipway:database.reservedConnections is 10: keep it below maxConnections",
        ),
        ({"api": {"replicas": 3, "workers": 4, "poolSize": 10}}, TOO_FEW),
        ({"mail": {"url": "http://x"}}, "slipway:mail.url 'http://x' has no scheme that is known"),
        ({"mail": {"url": "smtp://u:p@x"}}, "slipway:mail.url holds a password: move it to the secret mailPassword"),
        ({"mail": {"from": "me"}}, "slipway:mail.from 'me' is no address"),
        ({"api": {"settings": {"PATH": "x"}}}, "slipway:api.settings.PATH is no setting of the service"),
        (
            {"api": {"settings": {"SLIPWAY_TOKEN_KEYS": "x"}}},
            "slipway:api.settings.SLIPWAY_TOKEN_KEYS is a secret: set the stack's key for it, one of adminPassword",
        ),
        (
            {"api": {"settings": {"SLIPWAY_CACHE_URL": "x"}}},
            "slipway:api.settings.SLIPWAY_CACHE_URL follows from other keys: change those",
        ),
        ({"uptime": {"alertMailTo": "a@b.c"}}, "slipway:uptime.alertMailTo is set, but mail.url names no server"),
        ({"backups": {"url": "s3://x"}}, "slipway:backups.url: object stores are not supported yet"),
        ({"databaseUrl": "postgresql://a:hunter2@b/c"}, "slipway:databaseUrl is set, but database.mode is container"),
        ({"mailPassword": "hunter2"}, "slipway:mailPassword is set, but mail.url names no server"),
        ({"alertMailPassword": "hunter2"}, "slipway:alertMailPassword is set, but uptime.alertMailTo is not"),
        ({"cachePassword": "hunter2 hunter2"}, "slipway:cachePassword must be 16 or more of A-Z, a-z, 0-9, _ and -"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_key_and_the_choices(config: dict[str, Any], line: str) -> None:
    told = refusal(**config)
    assert told.startswith(line)
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("environment", "config", "without", "line"),
    [
        ("staging", {}, ("image",), "slipway:image is not set: staging takes a digest only"),
        ("staging", {"image": "slipway:1"}, (), "slipway:image 'slipway:1' is no digest: staging takes"),
        ("production", {"image": "slipway:1"}, (), "slipway:image 'slipway:1' is no digest: production takes"),
        ("production", {"images": {"caddy": "caddy:2"}}, (), "slipway:images.caddy 'caddy:2' is no digest: production"),
        ("production", {"api": {"replicas": 1}}, (), "slipway:api.replicas is 1: production keeps 2 or more"),
        ("production", {}, ("uptime",), "slipway:uptime.alertMailTo and alertWebhook are both not set"),
        ("production", {}, ("mail", "uptime"), "slipway:mail.url is an outbox, which production would lose"),
    ],
)
def test_later_environments_have_stricter_rules(
    environment: str, config: dict[str, Any], without: tuple[str, ...], line: str
) -> None:
    assert refusal(environment, without, **config).startswith(line)


def test_secrets_are_encrypted_or_refused() -> None:
    with pytest.raises(StackError, match="slipway:appPassword stands in the clear: set it with `pulumi config set"):
        read(SECRETS, set(SECRETS) - {"appPassword"}, "dev")
    with pytest.raises(StackError, match="slipway:image is encrypted but no secret"):
        read(SECRETS | {"image": "x"}, {*SECRETS, "image"}, "dev")
    assert refusal(without=("appPassword", "tokenKeys")) == (
        "slipway:appPassword, tokenKeys: not set: slipway init dev makes what is missing"
    )


def test_a_managed_database_needs_its_url_and_no_administrator_of_ours() -> None:
    external = {"mode": "external"}
    url = "postgresql://admin:hunter2@db.example.com/postgres"
    assert checked(without=("adminPassword",), database=external, databaseUrl=url).database.mode == "external"
    assert refusal(database=external).startswith("slipway:databaseUrl is not set: pulumi config set --secret")
    for wrong in ("mysql://a:hunter2@b", "postgresql://hunter2", "postgresql://a:hunter2@b:x/c"):
        told = refusal(database=external, databaseUrl=wrong)
        assert told.startswith("slipway:databaseUrl must be postgresql://admin:password@host:5432/postgres, but ")
        assert "hunter2" not in told
    assert "slipway:database.storage is for mode container" in refusal(
        database=external | {"storage": "x"}, databaseUrl=url
    )


@pytest.mark.parametrize("end", ["?sslmode=disable", "#x"])
def test_nothing_in_a_managed_databases_url_is_ignored(end: str) -> None:
    external = {"mode": "external"}
    for wrong in (f"postgresql://admin:hunter2@db.example.com/postgres{end}", "postgresql://a:hunter2@[::1]/c"):
        told = refusal(database=external, databaseUrl=wrong)
        assert "names several hosts, an IPv6 address or options" in told
        assert "hunter2" not in told
    assert "several hosts" in refusal(database=external, databaseUrl="postgresql://a:hunter2@one,two/c")


def test_what_nobody_could_visit_is_refused() -> None:
    for wrong in ("tasks.example.com", "http://tasks.example.com", "https://tasks.example.com/path", "https://"):
        assert f"slipway:uptime.publicUrl {wrong!r} is no site" in refusal(uptime={"publicUrl": wrong})
    automatic = {"domain": "tasks.example.com", "tls": "automatic", "acmeEmail": "me@example.com"}
    assert "nobody vouches for 192.0.2.1" in refusal(edge=automatic | {"domain": "192.0.2.1"})
    assert "slipway:edge.acmeEmail" in refusal(edge=automatic | {"acmeEmail": "me@example.com {"})
    assert "names no server" in refusal(mail={"url": "smtp://"})


def test_a_truth_is_no_number() -> None:
    assert "must be a number, not true or false" in refusal(api={"replicas": True})


counts = st.integers(1, 30)


@given(st.tuples(counts, counts, counts, st.integers(2, 1000), st.integers(1, 100), st.sampled_from([True, False])))
def test_the_connection_budget_adds_up(numbers: tuple[int, int, int, int, int, bool]) -> None:
    replicas, workers, pool, most, kept, watched = numbers
    config: dict[str, Any] = {
        "api": {"replicas": replicas, "workers": workers, "poolSize": pool},
        "database": {"maxConnections": most, "reservedConnections": min(kept, most - 1)},
        "uptime": {"enabled": watched},
    }
    unchecked = Stack.model_validate({"environment": "dev", "kind": "dev", "secrets": set(SECRETS), **config})
    budget = connection_budget(unchecked)
    connections = sum(pool for _ in range(replicas + min(replicas, LEAVING)) for _ in range(workers))
    assert budget.needed == connections + JOBS + (EXPORTER if watched else 0)
    assert budget.available == most - min(kept, most - 1)
    assert f"= {budget.needed}," in budget.sum_text
    assert budget.sum_text.endswith(f"= {budget.available}")
    if budget.fits:
        checked(**config)
    else:
        assert budget.sum_text in refusal(**config)


def test_every_key_is_described() -> None:
    found = keys()
    assert len({key.name for key in found}) == len(found)
    assert [key.name for key in found if not (key.type and key.default and key.meaning)] == []
    assert {key.name.removeprefix("slipway:") for key in found if key.secret} == set(stack.SECRETS)


def test_the_service_runs_with_what_its_settings_allow() -> None:
    assert contract.api_command(8000, 3)[-1] == contract.API_MODULE
    assert set(stack.KINDS) < {"local", "dev", "staging", "production"}
