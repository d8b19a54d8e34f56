"""Statistics of categories over HTTP: what tasks there are in each."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.accounts.routes import CurrentAccount
from service.categories.models import CategoryQuery
from service.categories.routes import ThisCategory
from service.errors import NotFoundError
from service.http.conditional import digested
from service.http.problems import problems
from service.http.routing import Route
from service.parts import Parts
from service.tasks import statistics
from service.tasks.queries import CategoryStatistics, CategoryStatisticsPage

router = APIRouter(prefix="/api/v1/categories", tags=["categories"], route_class=Route)


@router.get("/statistics", response_model=CategoryStatisticsPage)
async def list_category_statistics(
    request: Request, who: CurrentAccount, query: Annotated[CategoryQuery, Query()]
) -> Response:
    """Count the tasks of every category, by status and priority, page by page."""
    page = await statistics.of_categories(Parts.of(request).database, who, query.limit, query.cursor)
    return digested(request, page)


@router.get("/{category_id}/statistics", response_model=CategoryStatistics, responses=problems(NotFoundError))
async def get_category_statistics(request: Request, who: CurrentAccount, category_id: ThisCategory) -> Response:
    """Count the tasks of a category, by status and priority."""
    return digested(request, await statistics.of_category(Parts.of(request).database, who, category_id))
