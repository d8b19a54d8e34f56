import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from service import housekeeping
from service.database import Database
from service.housekeeping import Housekeeping
from service.settings import Settings
from tests.service.conftest import Door, Host

if TYPE_CHECKING:
    import asyncpg

ROWS = """
    INSERT INTO account (email, password_hash) VALUES ('a@example.com', 'x');
    INSERT INTO session (account_id, client, expires_at)
        SELECT id, 'ended', now() - interval '1 second' FROM account UNION ALL
        SELECT id, 'goes on', now() + interval '1 minute' FROM account;
    INSERT INTO refresh_token (token_hash, session_id, used_at)
        SELECT 'a'::bytea, id, NULL::timestamptz FROM session WHERE client = 'ended' UNION ALL
        SELECT 'b', id, NULL FROM session WHERE client = 'goes on' UNION ALL
        SELECT 'c', id, now() - interval '59 minutes' FROM session WHERE client = 'goes on' UNION ALL
        SELECT 'd', id, now() - interval '61 minutes' FROM session WHERE client = 'goes on';
    INSERT INTO mail_token (token_hash, account_id, purpose, email, expires_at)
        SELECT 'a'::bytea, id, 'reset', email, now() - interval '1 second' FROM account UNION ALL
        SELECT 'b', id, 'reset', email, now() + interval '1 minute' FROM account;
    INSERT INTO idempotency_key (scope, key, request_digest, created_at)
        SELECT id, 'a', ''::bytea, now() - interval '24 hours 1 second' FROM account UNION ALL
        SELECT id, 'b', '', now() - interval '23 hours' FROM account;
    INSERT INTO mail (kind, recipient, created_at) VALUES ('reset', 'a@example.com', now() - interval '1 year');
"""
KEPT = """
    SELECT json_build_object(
        'account', (SELECT count(*) FROM account),
        'session', (SELECT json_agg(client) FROM session),
        'refresh_token', (SELECT json_agg(convert_from(token_hash, 'UTF8') ORDER BY token_hash) FROM refresh_token),
        'mail_token', (SELECT json_agg(convert_from(token_hash, 'UTF8')) FROM mail_token),
        'idempotency_key', (SELECT json_agg(key) FROM idempotency_key),
        'mail', (SELECT count(*) FROM mail))
"""
MANY = "INSERT INTO mail_token SELECT n::text::bytea, id, 'reset', email, now() FROM account, generate_series(1, {}) n"


class House:
    """A database of the test's own, and what keeps it clean."""

    def __init__(self, settings: Settings, database: Database, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.settings = settings
        self.database = database
        self.admin = admin

    def keeper(self, interval_seconds: float = 300) -> Housekeeping:
        settings = self.settings.model_copy(update={"housekeeping_seconds": interval_seconds})
        return Housekeeping(settings, self.database)

    async def tokens(self) -> int:
        return int(await self.admin.fetchval("SELECT count(*) FROM mail_token"))

    async def until_clean(self) -> None:
        """Wait until the old tokens are gone, for 5 s at most."""
        give_up_at = time.monotonic() + 30
        while await self.tokens() > 1:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)


@pytest.fixture
async def house(host: Host, door: Door, new_database: Any) -> AsyncIterator[House]:
    """A house full of rows, old and new."""
    name = await new_database("pattern")
    settings = door.settings(name)
    database, admin = Database(settings), await host.connect("slipway_admin", name)
    await admin.execute(ROWS)
    await database.open()
    yield House(settings, database, admin)
    await database.close()
    await admin.close()


async def test_what_nobody_needs_goes_and_everything_else_stays(house: House) -> None:
    deleted = await house.keeper().keep_house()
    assert deleted == {"sessions": 1, "refresh_tokens": 1, "mail_tokens": 1, "idempotency_keys": 1}
    assert json.loads(await house.admin.fetchval(KEPT)) == {
        "account": 1,
        "session": ["goes on"],
        "refresh_token": ["b", "c"],
        "mail_token": ["b"],
        "idempotency_key": ["b"],
        "mail": 1,
    }
    assert not any((await house.keeper().keep_house()).values())


async def test_many_rows_go_in_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_BREATH_SECONDS", 0)
    await house.admin.execute(MANY.format(5 * housekeeping._BATCH))
    assert (await house.keeper().keep_house())["mail_tokens"] == 5 * housekeeping._BATCH + 1
    assert await house.tokens() == 1


async def test_one_worker_at_a_time(house: House) -> None:
    async with house.admin.transaction():
        assert await house.admin.fetchval(housekeeping._IS_MY_TURN.sql)
        assert not any((await house.keeper().keep_house()).values())
    await house.admin.execute(MANY.format(2000))
    done = await asyncio.gather(*(house.keeper().keep_house() for _ in range(4)))
    assert await house.tokens() == 1
    assert sum(deleted["mail_tokens"] for deleted in done) == 2001


async def test_a_row_in_use_keeps_nobody_waiting(house: House) -> None:
    async with house.admin.transaction():
        await house.admin.execute("SELECT 1 FROM mail_token WHERE token_hash = 'a' FOR UPDATE")
        assert (await house.keeper().keep_house())["mail_tokens"] == 0
    assert (await house.keeper().keep_house())["mail_tokens"] == 1


async def test_every_deletion_finds_its_rows_by_an_index(house: House) -> None:
    await house.admin.execute("SET enable_seqscan = off")
    for kind, statement in housekeeping._STATEMENTS.items():
        plan = await house.admin.fetch(f"EXPLAIN {statement.sql}", *statement.arguments({}))
        text = "\n".join(row[0] for row in plan)
        assert "Seq Scan" not in text, kind


async def test_it_comes_round_and_outlives_an_outage(
    host: Host, house: House, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = house.keeper(0.05)
    keeper.start()
    await house.until_clean()
    door.close("postgres")
    name = await house.admin.fetchval("SELECT current_database()")
    await host.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = 'slipway_app'"
    )
    await asyncio.sleep(0.5)
    await house.admin.execute(MANY.format(10))
    door.open("postgres")
    await house.until_clean()
    events: list[str] = []
    give_up_at = time.monotonic() + 30
    while len(events) < 4 and time.monotonic() < give_up_at:  # rows go before the line that tells of it is written
        await asyncio.sleep(0.02)
        events += [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    await keeper.stop()
    assert events == ["old rows deleted", "dependency is away", "dependency is back", "old rows deleted"]


async def test_stopping_what_never_began_is_nothing(house: House) -> None:
    await house.keeper().stop()
