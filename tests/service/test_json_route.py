"""The short way to routes with JSON bodies leaves nothing out that the long way has."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from service.routes.json_route import JsonRoute, ShortWay


def key() -> str:
    return "k"


async def endpoint(request: Request, body: dict[str, int]) -> Response:
    return Response(repr(body), headers={"x-route": request.scope["route"].path_format})


def test_a_route_with_dependencies_is_refused_rather_than_served_without_them() -> None:
    async def guarded(
        request: Request, body: dict[str, int], given: Annotated[str, Depends(key)]
    ) -> Response:
        return Response(given)

    with pytest.raises(TypeError, match="no dependencies"):
        APIRouter(route_class=JsonRoute).post("/x", response_model=None)(guarded)
    with pytest.raises(TypeError, match="no dependencies"):
        APIRouter(route_class=JsonRoute, dependencies=[Depends(key)]).post("/x")(endpoint)


@pytest.mark.parametrize("short", [False, True])
async def test_both_ways_answer_alike(short: bool) -> None:
    router = APIRouter(route_class=JsonRoute)
    router.post("/x")(endpoint)
    app = FastAPI()
    app.include_router(router)
    if short:
        app.add_middleware(ShortWay, routes=router.routes)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        answer = await client.post("/x", json={"a": 1})
        assert (answer.status_code, answer.text, answer.headers["x-route"]) == (200, "{'a': 1}", "/x")
        assert (await client.get("/x")).status_code == 405
        assert (await client.post("/y", json={})).status_code == 404
