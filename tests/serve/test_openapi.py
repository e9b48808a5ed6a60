"""What the server says of itself, and requests made from that by schemathesis."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from serve.asking import BEARER, CHAT, a_client, an_app, is_proper

APP = an_app()
OPEN = {"/health"}
schema = schemathesis.openapi.from_dict(APP.openapi())
MODELS = ("D", "D-think", "base", "base-think")


@schema.hook
def map_body(context: Any, body: Any) -> Any:
    """Made-up bodies ask for models that are not there, and get no further. Most are mended."""
    del context
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 4:
        return {**body, "model": MODELS[len(body["model"]) % 4]}
    return body


@schema.parametrize()
@settings(
    max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_no_request_of_any_form_is_a_failure(case: Case) -> None:
    made = case.as_transport_kwargs(base_url="http://localhost")
    made["headers"] = {**dict(made.get("headers") or {}), **BEARER}
    made.pop("cookies", None)
    if isinstance(made.get("data"), str | bytes):
        made["content"] = made.pop("data")

    # A loop of its own: schemathesis would leave pytest's open.
    async def ask() -> httpx.Response:
        async with a_client(APP) as client:
            return await client.request(**made)

    answer = asyncio.run(ask())
    is_proper(answer.status_code, answer.headers, answer.text, answer.json)
    # The status is one that the description names, or says that nothing was read.
    named = {str(code) for code in case.operation.definition.raw["responses"]}
    assert str(answer.status_code) in named | {"401", "405", "415"}


def test_every_operation_but_the_open_ones_names_the_key() -> None:
    document = APP.openapi()
    schemes = document["components"]["securitySchemes"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            required = operation.get("security", [])
            assert bool(required) == (path not in OPEN), path
            for one in required:
                (name,) = one
                assert schemes[name]["type"] == "http"
                assert schemes[name]["scheme"] == "bearer"


async def test_what_is_described_needs_the_key_that_it_names() -> None:
    async with a_client(APP, key="") as stranger:
        for path, operations in APP.openapi()["paths"].items():
            for method in operations:
                answer = await stranger.request(method, re.sub(r"\{.*?\}", "x", path))
                assert (answer.status_code == 401) == (path not in OPEN)


async def test_no_page_of_documentation_loads_scripts_from_elsewhere() -> None:
    async with a_client(APP) as client:
        for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
            assert (await client.get(path)).status_code == 404


def test_the_chat_body_is_described() -> None:
    body = APP.openapi()["paths"][CHAT]["post"]["requestBody"]
    assert "application/json" in body["content"]
    assert body["required"] is True
