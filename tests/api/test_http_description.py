"""The description: every route is in it, the page needs nobody else, and requests made from it find no fault."""

import re
from collections.abc import Iterator

import pytest
import schemathesis
from http_bed import Bed, Threaded, on_bed, threaded
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from two_x import TwoX

from cutwater.api.http.infer import Infer
from cutwater.api.http.openapi import describe
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.table import protocol_routes
from cutwater.api.porch import Porch

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    allow_header_conformance,
    response_headers_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Threaded]:
    with threaded() as begun:
        begun.do(begun.release())
        yield begun


schema = schemathesis.openapi.from_dict(describe(protocol_routes(TwoX(), Infer(TwoX(), HttpOptions(), Porch(TwoX())))))


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_from_the_description_find_no_fault(case: schemathesis.Case, server: Threaded) -> None:
    case.call_and_validate(base_url=server.url, checks=CHECKS)
    if case.path_parameters:
        known = "two_int8" if case.operation.path.endswith("unload") else "mixed"
        case.path_parameters = {name: known if name == "model" else "1" for name in case.path_parameters}
        case.call_and_validate(base_url=server.url, checks=CHECKS)


def test_all_routes_of_the_protocol_are_described() -> None:
    async def story(bed: Bed) -> None:
        document = (await bed.ask("/openapi.json")).json
        assert document["openapi"] == "3.1.0"
        found = {(path, method) for path, told in document["paths"].items() for method in told}
        model = "/v2/models/{model}"
        assert {
            ("/v2", "get"),
            ("/v2/health/live", "get"),
            ("/v2/health/ready", "get"),
            ("/v2/models/stats", "get"),
            ("/v2/repository/index", "post"),
            ("/v2/repository/models/{model}/load", "post"),
            ("/v2/repository/models/{model}/unload", "post"),
            *(
                (f"{base}{path}", method)
                for base in (model, f"{model}/versions/{{version}}")
                for path, method in (
                    ("", "get"),
                    ("/ready", "get"),
                    ("/config", "get"),
                    ("/stats", "get"),
                    ("/infer", "post"),
                )
            ),
        } <= found
        asked = document["components"]["schemas"]["InferRequest"]["properties"]
        assert "5 is like none at all" in asked["parameters"]["description"]
        references = set(re.findall(r"#/components/schemas/(\w+)", (await bed.ask("/openapi.json")).body.decode()))
        assert references <= document["components"]["schemas"].keys()

    on_bed(story)


def test_the_page_tells_of_every_route_and_loads_nothing() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.ask("/docs")
        page = said.body.decode()
        assert said.headers["Content-Type"] == "text/html; charset=utf-8"
        assert said.headers["Content-Security-Policy"].startswith("default-src 'none'")
        for path in (await bed.ask("/openapi.json")).json["paths"]:
            assert f"<code>{path}</code>" in page
        assert re.findall(r'(?:src|href)="(?!#|data:|openapi\.json)', page) == []
        assert "url(" not in page
        assert "<script" not in page

    on_bed(story)
