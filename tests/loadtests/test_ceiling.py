import asyncio
import base64
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from infra.embedded import secrets
from loadtests.dataset import load
from loadtests.population import Parameters
from tests.loadtests.conftest import Migrated
from tests.ports import unused_port

FIELDS = {
    *("id", "title", "description", "status", "priority", "due_at", "category_id", "completed_at"),
    *("created_at", "updated_at"),
}


@pytest.fixture
def account_id(migrated: Migrated, tmp_path: Path) -> str:
    """The account with the most tasks of a small dataset."""
    return asyncio.run(fullest_account(migrated, tmp_path / "credentials.json"))


async def fullest_account(migrated: Migrated, credentials: Path) -> str:
    password = migrated.password_file.read_text()
    await load(database_url=migrated.url, password=password, credentials=credentials, parameters=Parameters(5, 300))
    connection = await migrated.connect()
    try:
        return str(await connection.fetchval("SELECT account_id FROM task GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"))
    finally:
        await connection.close()


@pytest.fixture
def ceiling(migrated: Migrated) -> Iterator[str]:
    port = unused_port()
    options = {
        "port": port,
        "database-url": migrated.url,
        "password-file": migrated.password_file,
        "token-keys": secrets.path_of(migrated.layout, "token_keys"),
    }
    command = [sys.executable, "-m", "loadtests.ceiling", *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(command) as server:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while True:
            try:
                assert httpx.get(f"{url}/health/live").json() == {"status": "ok"}
                break
            except httpx.TransportError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url
        server.terminate()


def token(layout: Any, subject: Any, *, expires_in: Any = 60, key: Any = None) -> Any:
    ring = json.loads(secrets.read(layout, "token_keys"))
    entry = next(one for one in ring["keys"] if one["kid"] == ring["signing"])
    signing = key or base64.urlsafe_b64decode(entry["key"] + "==")
    claims = {"sub": subject, "exp": int(time.time()) + expires_in, "aud": "x", "iss": "y"}
    return jwt.encode(claims, signing, "HS256", {"kid": ring["signing"]})


def test_answers_what_the_service_answers(migrated: Migrated, account_id: str, ceiling: str) -> None:
    with httpx.Client(
        base_url=f"{ceiling}/api/v1", headers={"Authorization": f"Bearer {token(migrated.layout, account_id)}"}
    ) as http:
        page = http.get("/tasks?limit=20").raise_for_status().json()
        assert len(page["items"]) == 20
        assert set(page["items"][0]) == FIELDS
        created = [item["created_at"] for item in page["items"]]
        assert created == sorted(created, reverse=True)
        assert {item["priority"] for item in page["items"]} <= {"low", "medium", "high", "urgent"}
        one = http.get(f"/tasks/{page['items'][3]['id']}").raise_for_status().json()
        assert one == page["items"][3]
        assert http.get(f"/tasks/{uuid.uuid4()}").status_code == 404
        assert http.get("/tasks/no-uuid").status_code == 404
        assert http.get("/elsewhere").status_code == 404


def test_inserts_the_row_and_answers_with_it(migrated: Migrated, account_id: str, ceiling: str) -> None:
    body = {"title": "Write it 下来", "description": "d" * 70_000, "priority": "high", "due_at": "2031-01-15T09:30:00Z"}
    with httpx.Client(
        base_url=f"{ceiling}/api/v1", headers={"Authorization": f"Bearer {token(migrated.layout, account_id)}"}
    ) as http:
        answer = http.post("/tasks", json=body)
        assert answer.status_code == 201
        assert set(answer.json()) == FIELDS
        assert answer.json().items() >= (body | {"due_at": "2031-01-15T09:30:00+00:00", "status": "todo"}).items()
        assert http.get(f"/tasks/{answer.json()['id']}").json() == answer.json()


def test_another_accounts_rows_are_not_there(migrated: Migrated, account_id: str, ceiling: str) -> None:
    mine = {"Authorization": f"Bearer {token(migrated.layout, account_id)}"}
    other = {"Authorization": f"Bearer {token(migrated.layout, str(uuid.uuid4()))}"}
    with httpx.Client(base_url=f"{ceiling}/api/v1") as http:
        task_id = http.get("/tasks", headers=mine).json()["items"][0]["id"]
        assert http.get("/tasks", headers=other).json() == {"items": [], "next_cursor": None}
        assert http.get(f"/tasks/{task_id}", headers=other).status_code == 404


def test_bad_tokens_are_refused(migrated: Migrated, ceiling: str) -> None:
    bad = [
        token(migrated.layout, "x", expires_in=-60),
        token(migrated.layout, "x", key=b"k" * 32),
        "nonsense",
    ]
    with httpx.Client(base_url=f"{ceiling}/api/v1") as http:
        assert http.get("/tasks").status_code == 401
        for one in bad:
            assert http.get("/tasks", headers={"Authorization": f"Bearer {one}"}).status_code == 401
