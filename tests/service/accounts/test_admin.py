import asyncio
import os
from typing import Any
from unittest import mock

import pytest

from service.accounts import admin
from tests.service.accounts.conftest import PASSWORD, Device, Mailbox, new_email
from tests.service.conftest import Host
from tests.service.test_errors import problem_of


@pytest.fixture
def run(host: Host, shared_database: str) -> Any:
    """Runs the command line in the API's environment."""

    async def run_here(*arguments: str, **variables: str) -> int:
        environment = host.environment("api", shared_database, **variables)
        with mock.patch.dict(os.environ, environment, clear=True):
            return await asyncio.to_thread(admin.main, arguments)

    return run_here


async def test_a_deactivated_account_is_out_at_once_and_cannot_get_in(
    run: Any, device: Device, mailbox: Mailbox, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.http.post("/api/v1/auth/password-reset", json={"email": device.email})
    token = await mailbox.token(device.email, "new password")
    task = await device.call("POST", "/tasks", json={"title": "stays"}, expect=201)

    assert await run("deactivate", device.email.upper()) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{device.email} is deactivated"
    assert not await device.is_in()
    problem_of(await device.refresh(), 401, "invalid-refresh-token")
    login = {"username": device.email, "password": PASSWORD}
    problem_of(await device.http.post("/api/v1/auth/login", data=login), 401, "wrong-credentials")
    reset = {"token": token, "new_password": "another horse"}
    problem_of(await device.http.post("/api/v1/auth/password-reset/confirm", json=reset), 400, "invalid-token")
    taken = {"email": device.email, "password": PASSWORD}
    problem_of(await device.http.post("/api/v1/auth/register", json=taken), 409, "email-taken")

    assert await run("activate", device.email) == 0
    assert not await device.is_in()
    again = await device.another()
    await again.call("GET", f"/tasks/{task['id']}", expect=200)


async def test_nobody_of_that_name(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    email = new_email()
    assert await run("deactivate", email) == 1
    assert capsys.readouterr().err == f"slipway: {email} has no account: look at its spelling\n"


async def test_no_database_or_no_settings(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://slipway_app@/nowhere?host=/nowhere"
    assert await run("activate", "a@example.com", SLIPWAY_DATABASE_URL=url) == 1
    assert "cannot reach PostgreSQL" in capsys.readouterr().err
    assert await run("activate", "a@example.com", SLIPWAY_DATABASE_URL="nonsense") == 1
    assert "SLIPWAY_DATABASE_URL" in capsys.readouterr().err


async def test_wrong_usage(run: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        await run("destroy", "a@example.com")
    assert ended.value.code == 2
