"""Routes of the Open Inference Protocol and of Triton's extensions: declared once, for the router and for people."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cutwater.api.backend import Backend
from cutwater.api.http import words
from cutwater.api.http.infer import Infer
from cutwater.api.http.models import Models
from cutwater.api.http.openapi import JSON
from cutwater.api.http.operations import Described, Operation, Parameter
from cutwater.api.http.reading import HEADER_LENGTH
from cutwater.api.http.repository import Repository
from cutwater.api.models import ModelConfig, Statistics
from cutwater.errors import Unsupported

OCTETS = "application/octet-stream"
SERVER, MODELS, REPOSITORY = "Server", "Models", "Repository"
UNDER_WAY = (400, 404, 408, 409, 413, 422, 429, 500, 501, 503, 504)
"""Everything an inference can end with besides its answer."""
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}

HEADER = Parameter(
    HEADER_LENGTH,
    "header",
    "Bytes of the JSON, where binary tensors follow it; 0: the body is the model's only input, and nothing else.",
    {"type": "integer", "minimum": 0},
)
REQUEST_ID = Parameter("X-Request-Id", "header", "What the client calls it, where the body does not say; comes back.")
TRACE = Parameter(
    "traceparent", "header", "The W3C trace it belongs to; the answer has the span it was recorded under."
)

INFER = Operation(
    summary="Ask a model",
    tag=MODELS,
    detail="Inputs and outputs travel in the JSON, or in binary behind it. BYTES elements each follow their length in "
    "4 bytes, little-endian. A model that looks at pictures also takes one as its file holds it, as BYTES [1]. Bodies "
    "may be packed by gzip or deflate, both ways. Hanging up withdraws the request.",
    takes={JSON: words.InferRequest, OCTETS: BINARY},
    gives={JSON: words.InferAnswer, OCTETS: BINARY},
    errors=UNDER_WAY,
    parameters=(HEADER, REQUEST_ID, TRACE),
    example="curl $URL/v2/models/NAME/infer -d "
    """'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1]}]}'""",
)
READY = Operation(summary="Whether a model can be asked", tag=MODELS, gives={JSON: words.ModelReady}, errors=(404, 503))
METADATA = Operation(
    summary="What a model takes and gives", tag=MODELS, gives={JSON: words.ModelMetadata}, errors=(400, 404, 503)
)
CONFIG = Operation(summary="How a model is served", tag=MODELS, gives={JSON: ModelConfig}, errors=(400, 404, 503))
STATISTICS = Operation(
    summary="How a model fared at this gateway, since it started",
    tag=MODELS,
    gives={JSON: Statistics},
    errors=(404, 503),
)


def protocol_routes(backend: Backend, infer: Infer) -> list[BaseRoute]:
    """All of them, in the order in which they are tried."""
    models, repository = Models(backend), Repository(backend)
    found: list[BaseRoute] = [
        *_server_routes(models),
        *_repository_routes(repository),
        Described(
            "/v2/models/stats",
            models.statistics,
            Operation(
                summary="How all models fared at this gateway, since it started",
                tag=MODELS,
                gives={JSON: Statistics},
                errors=(503,),
            ),
        ),
    ]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Described(base, models.metadata, METADATA),
            Described(f"{base}/ready", models.model_ready, READY),
            Described(f"{base}/config", models.config, CONFIG),
            Described(f"{base}/stats", models.statistics, STATISTICS),
            Described(f"{base}/infer", infer, INFER, "POST"),
        ]
    return [*found, *_not_offered()]


def _server_routes(models: Models) -> list[BaseRoute]:
    return [
        Described(
            "/v2", models.server, Operation(summary="What answers here", tag=SERVER, gives={JSON: words.ServerMetadata})
        ),
        Described(
            "/v2/health/live",
            models.live,
            Operation(summary="That somebody answers", tag=SERVER, gives={JSON: words.Live}),
        ),
        Described(
            "/v2/health/ready",
            models.ready,
            Operation(summary="Whether requests are taken in", tag=SERVER, gives={JSON: words.Ready}, errors=(503,)),
        ),
    ]


def _repository_routes(repository: Repository) -> list[BaseRoute]:
    return [
        Described(
            "/v2/repository/index",
            repository.index,
            Operation(
                summary="All models the cluster knows",
                tag=REPOSITORY,
                takes={JSON: words.IndexRequest},
                must_take=False,
                gives={JSON: list[words.IndexEntry]},
                errors=(400, 413, 501, 503),
            ),
            "POST",
        ),
        Described(
            "/v2/repository/models/{model}/load",
            repository.load,
            Operation(
                summary="Deploy a model; answers when it can be asked",
                tag=REPOSITORY,
                takes={JSON: words.LoadRequest},
                must_take=False,
                gives={JSON: {"type": "object"}},
                errors=UNDER_WAY,
            ),
            "POST",
        ),
        Described(
            "/v2/repository/models/{model}/unload",
            repository.unload,
            Operation(
                summary="Take a model down; answers when it cannot be asked any more",
                tag=REPOSITORY,
                takes={JSON: words.LoadRequest},
                must_take=False,
                gives={JSON: {"type": "object"}},
                errors=UNDER_WAY,
            ),
            "POST",
        ),
    ]


def _not_offered() -> list[BaseRoute]:
    """Extensions that clients may try: they hear that it is not their mistake."""
    return [
        Route(path, _refusing(what), methods=["GET", "POST"])
        for path, what in (
            ("/v2/systemsharedmemory/{rest:path}", "shared memory"),
            ("/v2/cudasharedmemory/{rest:path}", "shared memory"),
            ("/v2/trace/setting", "trace settings"),
            ("/v2/models/{model}/trace/setting", "trace settings"),
            ("/v2/logging", "logging settings"),
        )
    ]


def _refusing(what: str) -> Any:
    async def refuse(request: Request) -> Response:
        raise Unsupported(f"{what} cannot be changed from outside: this extension is not offered")

    return refuse
