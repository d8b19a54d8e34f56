"""An example for every schema of the OpenAPI document, and for the parameters that need one; a test validates them."""

from typing import Any

_TASK_ID = "019d8a3e-7c1f-7b52-9c35-2f1f8e1f9d10"
_CATEGORY_ID = "019d8a3e-6a01-7d1c-8a55-6f0c2f6a1b2c"
_ACCOUNT_ID = "019d8a3d-0c5e-7f4b-b1de-6a2d3f4c5b6a"
_SESSION_ID = "019d8a3d-1111-7c3a-9d2e-5b6c7d8e9f01"
_CREATED_AT = "2026-11-21T08:30:00.000000Z"
_UPDATED_AT = "2026-11-21T09:15:42.125000Z"
_DUE_AT = "2027-01-31T11:00:00.000000Z"
_PASSWORD = "a long passphrase"  # noqa: S105 - nobody's
_NEW_PASSWORD = "an even longer passphrase"  # noqa: S105 - nobody's
_TOKEN = "vPcgtMIHzEcSVnIVFmcLoQrIIhqyj8EuSMnYtpvqKDE"  # noqa: S105 - opens nothing
_EMAIL = "ada@example.com"

_NEW_TASK: dict[str, Any] = {
    "title": "Write it down",
    "description": "Before it is forgotten.",
    "status": "todo",
    "priority": "high",
    "due_at": "2027-01-31T12:00:00+01:00",
    "category_id": _CATEGORY_ID,
}
_TASK: dict[str, Any] = {
    **_NEW_TASK,
    "id": _TASK_ID,
    "due_at": _DUE_AT,
    "completed_at": None,
    "version": 2,
    "created_at": _CREATED_AT,
    "updated_at": _UPDATED_AT,
}
_CATEGORY: dict[str, Any] = {
    "id": _CATEGORY_ID,
    "name": "Writing",
    "color": "#64748b",
    "version": 1,
    "created_at": _CREATED_AT,
    "updated_at": _CREATED_AT,
}
_ACCOUNT: dict[str, Any] = {
    "id": _ACCOUNT_ID,
    "email": _EMAIL,
    "email_verified_at": _UPDATED_AT,
    "full_name": "Ada Lovelace",
    "version": 2,
    "created_at": _CREATED_AT,
    "updated_at": _UPDATED_AT,
}
_SESSION: dict[str, Any] = {
    "id": _SESSION_ID,
    "client": "curl/8.17.0",
    "address": "203.0.113.7",
    "current": True,
    "created_at": _CREATED_AT,
    "used_at": _UPDATED_AT,
    "expires_at": "2026-12-21T09:15:42.125000Z",
}
_PUBLIC_KEY: dict[str, Any] = {
    "kty": "OKP",
    "crv": "Ed25519",
    "alg": "EdDSA",
    "use": "sig",
    "kid": "2026-11",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}

_COUNTS: dict[str, Any] = {
    "total": 12,
    "by_status": {"todo": 5, "in_progress": 2, "completed": 4, "archived": 1},
    "by_priority": {"low": 1, "medium": 6, "high": 4, "urgent": 1},
    "overdue": 2,
}
_CATEGORY_COUNTS: dict[str, Any] = {"category_id": _CATEGORY_ID, "name": "Writing", **_COUNTS}

SCHEMAS: dict[str, Any] = {
    "AccountPatch": {"full_name": "Ada King"},
    "AccountView": _ACCOUNT,
    "CategoryPage": {"items": [_CATEGORY], "next_cursor": None},
    "CategoryPatch": {"name": "Reading"},
    "CategoryStatistics": _CATEGORY_COUNTS,
    "CategoryStatisticsPage": {"items": [_CATEGORY_COUNTS], "next_cursor": None},
    "CategoryView": _CATEGORY,
    "ChangedTasks": {"items": [{"task_id": _TASK_ID, "status": "completed", "version": 1}]},
    "ChosenTasks": {"items": [{"task_id": _TASK_ID}]},
    "EmailAddress": {"email": _EMAIL},
    "Export": {
        "account": _ACCOUNT,
        "sessions": [{key: value for key, value in _SESSION.items() if key != "current"}],
        "categories": [_CATEGORY],
        "tasks": [_TASK],
    },
    "Farewell": {"password": _PASSWORD},
    "Liveness": {"status": "ok"},
    "LoginForm": {"username": _EMAIL, "password": _PASSWORD},
    "MailedToken": {"token": _TOKEN},
    "NewCategory": {"name": "Writing", "color": "#64748b"},
    "NewTask": _NEW_TASK,
    "NewTasks": {"items": [_NEW_TASK, {"title": "Read it again"}]},
    "PasswordChange": {"current_password": _PASSWORD, "new_password": _NEW_PASSWORD},
    "PasswordReset": {"token": _TOKEN, "new_password": _NEW_PASSWORD},
    "PriorityChange": {"priority": "urgent"},
    "PublicKeys": {"keys": [_PUBLIC_KEY]},
    "Readiness": {
        "status": "ready",
        "checks": {
            "database": {"state": "up", "milliseconds": 0.61},
            "cache": {"state": "up", "milliseconds": 0.24},
        },
    },
    "RefreshGrant": {"refresh_token": _TOKEN},
    "Registration": {"email": _EMAIL, "password": _PASSWORD, "full_name": "Ada Lovelace"},
    "RunningRelease": {
        "release": "0.1.0-3f2a9c1d",
        "version": "0.1.0",
        "digest": "sha256:3f2a9c1d5b7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718",
        "started_at": "2026-11-21T08:29:58.120000+00:00",
        "schema": {"database": "0002", "head": "0002", "oldest": "0002", "newest": "0002"},
    },
    "SessionList": {"items": [_SESSION]},
    "StatusChange": {"status": "in_progress"},
    "TaskList": {"items": [_TASK]},
    "TaskPage": {"items": [_TASK], "next_cursor": None, "total": 1},
    "TaskPatch": {"status": "completed", "due_at": None},
    "TaskStatistics": {**_COUNTS, "completed_per_day": [{"day": "2026-11-21", "completed": 4}]},
    "TaskView": _TASK,
    "TokenPair": {
        "access_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl",
        "token_type": "bearer",
        "expires_in": 900,
        "refresh_token": _TOKEN,
        "refresh_expires_in": 2592000,
    },
}
"""By the schema's name."""

PARAMETERS: dict[str, Any] = {
    "task_id": _TASK_ID,
    "category_id": _CATEGORY_ID,
    "session_id": _SESSION_ID,
}
"""By the parameter's name, where its schema alone does not tell a reader what to write."""
