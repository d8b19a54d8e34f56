"""Tasks over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.accounts.models import Identity
from service.accounts.routes import CurrentAccount
from service.database import Runner
from service.errors import IdempotencyKeyReusedError, NotFoundError, PreconditionFailedError
from service.http.conditional import IfMatch, digested, etag, versioned, versions_of, written
from service.http.problems import problems
from service.http.routing import Route
from service.idempotency import Answer, IdempotencyKey, digest, once
from service.parts import Parts, json_response
from service.tasks import bulk, lists, statistics, store
from service.tasks.models import (
    ChangedTasks,
    ChosenTasks,
    NewTask,
    NewTasks,
    PriorityChange,
    StatusChange,
    TaskList,
    TaskPatch,
    TaskView,
)
from service.tasks.queries import StatisticsQuery, TaskPage, TaskQuery, TaskStatistics

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], route_class=Route)

ThisTask = Annotated[UUID, Path(description="one of the account's tasks")]

_CREATED = problems(IdempotencyKeyReusedError)
_CHANGED = problems(NotFoundError, PreconditionFailedError)


@router.post("", status_code=201, response_model=TaskView, responses=_CREATED)
async def create_task(
    request: Request, who: CurrentAccount, task: NewTask, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a task."""

    async def work(runner: Runner) -> Answer:
        row = await store.create(runner, who, task)
        headers = {"Location": f"{router.prefix}/{row['id']}", "ETag": etag(row["version"])}
        return Answer(row["view"], headers=headers)

    answer = await once(Parts.of(request).database, who, idempotency_key, await digest(request), work)
    return answer.response()


@router.get("", response_model=TaskPage)
async def list_tasks(request: Request, who: CurrentAccount, query: Annotated[TaskQuery, Query()]) -> Response:
    """List tasks, page by page: those that meet every condition."""
    return digested(request, await lists.get_page(Parts.of(request).database, who, query))


@router.get("/statistics", response_model=TaskStatistics)
async def get_task_statistics(
    request: Request, who: CurrentAccount, query: Annotated[StatisticsQuery, Query()]
) -> Response:
    """Count tasks, by status and priority, and those completed on each day of a range."""
    return digested(request, await statistics.of_account(Parts.of(request).database, who, query))


@router.post("/bulk", status_code=201, response_model=TaskList, responses=_CREATED)
async def create_tasks(
    request: Request, who: CurrentAccount, tasks: NewTasks, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create up to 100 tasks: all of them or none."""

    async def work(runner: Runner) -> Answer:
        return Answer(await bulk.create(runner, who, tasks.items), headers={"Location": router.prefix})

    parts = Parts.of(request)
    async with parts.bulk_turns.take(who.account_id):
        answer = await once(parts.database, who, idempotency_key, await digest(request), work)
    return answer.response()


@router.patch("/bulk", response_model=TaskList, responses=problems(PreconditionFailedError))
async def change_tasks(request: Request, who: CurrentAccount, tasks: ChangedTasks) -> Response:
    """Change up to 100 tasks, each in its own way: all of them or none."""
    parts = Parts.of(request)
    async with parts.bulk_turns.take(who.account_id):
        return json_response(await bulk.change(parts.database, who, tasks.items))


@router.post("/bulk/delete", status_code=204, responses=problems(PreconditionFailedError))
async def delete_tasks(request: Request, who: CurrentAccount, tasks: ChosenTasks) -> Response:
    """Delete up to 100 tasks: all of them or none."""
    parts = Parts.of(request)
    async with parts.bulk_turns.take(who.account_id):
        await bulk.remove(parts.database, who, tasks.items)
    return Response(status_code=204)


@router.get("/{task_id}", response_model=TaskView, responses=problems(NotFoundError))
async def get_task(request: Request, who: CurrentAccount, task_id: ThisTask) -> Response:
    """Get one task."""
    row = await store.get(Parts.of(request).database, who, task_id)
    return versioned(request, row["version"], row["view"])


async def _change(
    request: Request, who: Identity, task_id: UUID, changes: dict[str, Any], if_match: str | None
) -> Response:
    row = await store.change(Parts.of(request).database, who, task_id, changes, versions_of(if_match))
    return written(row["version"], row["view"])


@router.put("/{task_id}", response_model=TaskView, responses=_CHANGED)
async def replace_task(
    request: Request, who: CurrentAccount, task_id: ThisTask, task: NewTask, if_match: IfMatch = None
) -> Response:
    """Replace what a task says by all of this; what is left out gets its default."""
    return await _change(request, who, task_id, task.model_dump(), if_match)


@router.patch("/{task_id}", response_model=TaskView, responses=_CHANGED)
async def change_task(
    request: Request, who: CurrentAccount, task_id: ThisTask, patch: TaskPatch, if_match: IfMatch = None
) -> Response:
    """Change some fields of a task."""
    return await _change(request, who, task_id, {**patch}, if_match)


@router.put("/{task_id}/status", response_model=TaskView, responses=_CHANGED)
async def change_task_status(
    request: Request, who: CurrentAccount, task_id: ThisTask, change: StatusChange, if_match: IfMatch = None
) -> Response:
    """Move a task to a status, from whichever it has."""
    return await _change(request, who, task_id, {"status": change.status}, if_match)


@router.put("/{task_id}/priority", response_model=TaskView, responses=_CHANGED)
async def change_task_priority(
    request: Request, who: CurrentAccount, task_id: ThisTask, change: PriorityChange, if_match: IfMatch = None
) -> Response:
    """Give a task a priority."""
    return await _change(request, who, task_id, {"priority": change.priority}, if_match)


@router.delete("/{task_id}", status_code=204, responses=_CHANGED)
async def delete_task(request: Request, who: CurrentAccount, task_id: ThisTask, if_match: IfMatch = None) -> Response:
    """Delete a task."""
    await store.remove(Parts.of(request).database, who, task_id, versions_of(if_match))
    return Response(status_code=204)
