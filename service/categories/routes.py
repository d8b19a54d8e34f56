"""Categories over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.accounts.routes import CurrentAccount
from service.categories import store
from service.categories.models import CategoryPage, CategoryPatch, CategoryQuery, CategoryView, NewCategory
from service.database import Runner
from service.errors import (
    CategoryNameTakenError,
    IdempotencyKeyReusedError,
    NotFoundError,
    PreconditionFailedError,
)
from service.http.conditional import IfMatch, digested, etag, versioned, versions_of, written
from service.http.problems import problems
from service.http.routing import Route
from service.idempotency import Answer, IdempotencyKey, digest, once
from service.parts import Parts

router = APIRouter(prefix="/api/v1/categories", tags=["categories"], route_class=Route)

ThisCategory = Annotated[UUID, Path(description="one of the account's categories")]


@router.post(
    "",
    status_code=201,
    response_model=CategoryView,
    responses=problems(CategoryNameTakenError, IdempotencyKeyReusedError),
)
async def create_category(
    request: Request, who: CurrentAccount, category: NewCategory, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a category."""

    async def work(runner: Runner) -> Answer:
        row = await store.create(runner, who, category)
        headers = {"Location": f"{router.prefix}/{row['id']}", "ETag": etag(row["version"])}
        return Answer(row["view"], headers=headers)

    answer = await once(Parts.of(request).database, who, idempotency_key, await digest(request), work)
    return answer.response()


@router.get("", response_model=CategoryPage)
async def list_categories(request: Request, who: CurrentAccount, query: Annotated[CategoryQuery, Query()]) -> Response:
    """List the categories by name, page by page."""
    return digested(request, await store.get_page(Parts.of(request).database, who, query.limit, query.cursor))


@router.get("/{category_id}", response_model=CategoryView, responses=problems(NotFoundError))
async def get_category(request: Request, who: CurrentAccount, category_id: ThisCategory) -> Response:
    """Get one category."""
    row = await store.get(Parts.of(request).database, who, category_id)
    return versioned(request, row["version"], row["view"])


@router.patch(
    "/{category_id}",
    response_model=CategoryView,
    responses=problems(NotFoundError, CategoryNameTakenError, PreconditionFailedError),
)
async def change_category(
    request: Request, who: CurrentAccount, category_id: ThisCategory, patch: CategoryPatch, if_match: IfMatch = None
) -> Response:
    """Change some fields of a category."""
    row = await store.change(Parts.of(request).database, who, category_id, patch, versions_of(if_match))
    return written(row["version"], row["view"])


@router.delete("/{category_id}", status_code=204, responses=problems(NotFoundError, PreconditionFailedError))
async def delete_category(
    request: Request, who: CurrentAccount, category_id: ThisCategory, if_match: IfMatch = None
) -> Response:
    """Delete a category. Its tasks stay, in none, and have a new version."""
    await store.remove(Parts.of(request).database, who, category_id, versions_of(if_match))
    return Response(status_code=204)
