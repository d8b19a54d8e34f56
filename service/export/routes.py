"""The export over HTTP."""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.accounts.routes import CurrentAccount
from service.export.models import Export
from service.export.store import pieces
from service.http.routing import Route
from service.parts import Parts

router = APIRouter(prefix="/api/v1", tags=["me"], route_class=Route)


@router.get("/me/export", response_model=Export)
async def export_me(request: Request, who: CurrentAccount) -> Response:
    """Get all data of the account as one JSON document.

    It comes in pieces, as fast as it is taken. A change meanwhile may be in it or not; a connection that ends before
    the document does means that something went wrong.
    """
    document = pieces(Parts.of(request).database, who)
    # The first piece before the answer begins: an error can still be one.
    content = _continued(await anext(document), document)
    headers = {"Cache-Control": "private, no-cache", "Content-Disposition": 'attachment; filename="export.json"'}
    return StreamingResponse(content, headers=headers, media_type="application/json")


async def _continued(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for piece in rest:
        yield piece
