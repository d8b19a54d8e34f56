"""Tasks over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.accounts.routes import CurrentAccount
from service.parts import Parts, json_response
from service.tasks import store
from service.tasks.models import NewTask, TaskPage, TaskPatch, TaskQuery, TaskView

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])


@router.post("", status_code=201, response_model=TaskView)
async def create_task(request: Request, account_id: CurrentAccount, task: NewTask) -> Response:
    """Create a task."""
    task_id, view = await store.create(Parts.of(request).database, account_id, task)
    return json_response(view, 201, {"Location": f"{router.prefix}/{task_id}"})


@router.get("", response_model=TaskPage)
async def list_tasks(request: Request, account_id: CurrentAccount, query: Annotated[TaskQuery, Query()]) -> Response:
    """List tasks, page by page."""
    return json_response(await store.get_page(Parts.of(request).database, account_id, query))


@router.get("/{task_id}", response_model=TaskView)
async def get_task(request: Request, account_id: CurrentAccount, task_id: UUID) -> Response:
    """Get one task."""
    return json_response(await store.get(Parts.of(request).database, account_id, task_id))


@router.patch("/{task_id}", response_model=TaskView)
async def change_task(request: Request, account_id: CurrentAccount, task_id: UUID, patch: TaskPatch) -> Response:
    """Change some fields of a task."""
    return json_response(await store.change(Parts.of(request).database, account_id, task_id, patch))


@router.delete("/{task_id}", status_code=204)
async def delete_task(request: Request, account_id: CurrentAccount, task_id: UUID) -> Response:
    """Delete a task."""
    await store.remove(Parts.of(request).database, account_id, task_id)
    return Response(status_code=204)
