"""Categories over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.accounts.routes import CurrentAccount
from service.categories import store
from service.categories.models import CategoryPage, CategoryPatch, CategoryView, NewCategory
from service.pagination import Cursor
from service.parts import Parts, json_response

router = APIRouter(prefix="/api/v1/categories", tags=["categories"])

Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("", status_code=201, response_model=CategoryView)
async def create_category(request: Request, account_id: CurrentAccount, category: NewCategory) -> Response:
    """Create a category."""
    category_id, view = await store.create(Parts.of(request).database, account_id, category)
    return json_response(view, 201, {"Location": f"{router.prefix}/{category_id}"})


@router.get("", response_model=CategoryPage)
async def list_categories(
    request: Request, account_id: CurrentAccount, limit: Limit = 100, cursor: Annotated[Cursor | None, Query()] = None
) -> Response:
    """List the categories by name."""
    return json_response(await store.get_page(Parts.of(request).database, account_id, limit, cursor))


@router.get("/{category_id}", response_model=CategoryView)
async def get_category(request: Request, account_id: CurrentAccount, category_id: UUID) -> Response:
    """Get one category."""
    return json_response(await store.get(Parts.of(request).database, account_id, category_id))


@router.patch("/{category_id}", response_model=CategoryView)
async def change_category(
    request: Request, account_id: CurrentAccount, category_id: UUID, patch: CategoryPatch
) -> Response:
    """Change some fields of a category."""
    return json_response(await store.change(Parts.of(request).database, account_id, category_id, patch))


@router.delete("/{category_id}", status_code=204)
async def delete_category(request: Request, account_id: CurrentAccount, category_id: UUID) -> Response:
    """Delete a category. Its tasks stay, without a category."""
    await store.remove(Parts.of(request).database, account_id, category_id)
    return Response(status_code=204)
