"""The service as an ASGI application."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from aigid.prediction.predict import Predictor
from aigid.serve import documents, uploads
from aigid.serve.engine import Engine, Job, Options, Scored
from aigid.serve.limits import STATUS_CODES, ApiKeys, Guard, Limits, Metrics, ServiceError

UPLOADS_PER_REQUEST = 4  # requests that may be on their way for each that may wait for its answer
CLIENT_GONE = 499


class Failure(BaseModel):
    """Why there is no answer: ``code`` for programs, ``message`` for people."""

    code: str
    message: str


class Failed(BaseModel):
    """Every answer that is none."""

    error: Failure


class Verdicts(BaseModel):
    """For each image and model the document of `aigid predict --json`, and who says it of what."""

    results: list[dict[str, Any]]
    version: str
    latency_ms: float


SCHEMAS = {"type": "array", "items": {"type": "string", "format": "binary"}}
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": {"type": "object", "properties": {"files": SCHEMAS}}},
        "application/json": {"schema": uploads.JsonUpload.model_json_schema(ref_template="#/$defs/{model}")},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failed} for status in (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503)
}


class Service:
    """The models, and what is in flight: ``waiting`` requests for verdicts, ``open`` ones, their ``buffered`` bytes."""

    def __init__(self, predictors: Mapping[str, Predictor], limits: Limits, allow_urls: bool = False) -> None:
        self.limits, self.allow_urls = limits, allow_urls
        self.models = {name: documents.model(name, predictor) for name, predictor in predictors.items()}
        self.metrics = Metrics()
        self.engine = Engine(predictors, limits.pixels, self.metrics.batch.observe)
        self.metrics.watch(self)
        self.waiting = self.open = self.buffered = 0
        self.draining = False

    @property
    def ready(self) -> bool:
        return self.engine.alive and not self.draining

    def require_ready(self) -> None:
        """Raise ServiceError while the service ends."""
        if not self.ready:
            raise ServiceError(503, "not_ready", "the service is stopping", retry_after=5)

    def busy(self) -> ServiceError:
        """Return the error of a request for which there is no room, with the time that the queue takes."""
        seconds = self.engine.waiting * self.engine.seconds_per_image
        return ServiceError(429, "busy", "too many requests at once", retry_after=seconds)

    @contextmanager
    def admitted(self) -> Iterator[Callable[[int], None]]:
        """Count a request as long as the block runs; yield what counts its bytes, and refuses them where too many."""
        total = 0

        def hold(num_bytes: int) -> None:
            nonlocal total
            total += num_bytes
            self.buffered += num_bytes
            if self.buffered > self.limits.held_bytes:
                raise self.busy()

        self.require_ready()
        if self.waiting >= self.limits.requests or self.open >= UPLOADS_PER_REQUEST * self.limits.requests:
            raise self.busy()
        self.open += 1
        try:
            yield hold
        finally:
            self.open -= 1
            self.buffered -= total

    async def score(self, files: list[uploads.Upload], options: Options, request: Request) -> list[Scored]:
        """Return what the engine says, in order; where the client goes or time ends, what waits is given up."""
        if self.waiting >= self.limits.requests:
            raise self.busy()
        jobs = [Job(file.name, file.content, options) for file in files]
        results: asyncio.Future[list[Scored]] = asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs))
        results.add_done_callback(lambda done: done.cancelled() or done.exception())  # also where nobody waits for it
        gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnected(request))
        self.waiting += 1
        try:
            self.engine.submit(jobs)
            await asyncio.wait([results, gone], timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if results.done():
                return results.result()
            if gone.done():
                raise ClientDisconnect
            seconds = self.limits.seconds
            raise ServiceError(503, "too_slow", f"no verdict within {seconds:g} s", retry_after=seconds)
        finally:
            self.waiting -= 1
            results.cancel()
            gone.cancel()

    async def detect(self, request: Request, models: list[str], stable: bool, explain: bool, rows: bool) -> Response:
        """Answer with a document for each image and model; without ``rows`` by an error where none could be read."""
        start = perf_counter()
        if unknown := [name for name in models if name not in self.models]:
            raise ServiceError(404, "unknown_model", f"{unknown[0][:80]!r}: want one of {', '.join(self.models)}")
        names = tuple(dict.fromkeys(models)) or tuple(self.models)
        with self.admitted() as hold:
            files = await uploads.receive(request, self.limits, self.allow_urls, hold)
            scored = await self.score(files, Options(names, stable, explain), request)
        request.state.digests = [image.sha256 for image, _ in scored]
        ms = 1000 * (perf_counter() - start)
        results = []
        for image, row in scored:
            results += documents.verdicts(image, dict(zip(names, row, strict=True)), self.models, ms)
            self.metrics.images.labels(row[0].verdict or row[0].status).inc()
        predictions = [prediction for _, row in scored for prediction in row]
        if not rows and not any(prediction.ok for prediction in predictions):
            first = predictions[0]
            status = STATUS_CODES.get(first.status, 422)
            raise ServiceError(status, first.status, f"{first.path}: {first.error}", results=results)
        return JSONResponse({"results": results, "version": documents.VERSION, "latency_ms": round(ms, 1)})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(service: Service, keys: ApiKeys | None = None, hosts: frozenset[str] = frozenset()) -> FastAPI:
    """Return the application; ``hosts`` are the names that it may be called by, if given."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(title="aigid", version=documents.VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(partial(Guard, keys=keys, hosts=hosts, metrics=service.metrics))
    _add_routes(app, service)

    @app.exception_handler(ServiceError)
    async def refused(_: Request, error: ServiceError) -> Response:
        return error.response

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> Response:
        return ServiceError(error.status_code, error.detail.lower().replace(" ", "_"), error.detail).response

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return ServiceError(422, "malformed", f"{'.'.join(map(str, first['loc']))}: {first['msg']}").response

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return ServiceError(500, "internal", "the service failed; its log says why").response

    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/detect", response_model=Verdicts, responses=FAILURES, openapi_extra={"requestBody": REQUEST_BODY})
    async def detect(
        request: Request,
        model: Annotated[list[str], Query(description="names of /v1/models; all by default")] = [],  # noqa: B006
        stable: Annotated[bool, Query(description="does the verdict survive re-deliveries?")] = False,
        explain: Annotated[bool, Query(description="an occlusion map: what speaks for generated")] = False,
        rows: Annotated[bool, Query(description="where no image can be read, answer 200 with their statuses")] = False,
    ) -> Response:
        """Real or generated? Images come as files of a form, base64 or addresses in JSON, or as the body itself."""
        return await service.detect(request, model, stable, explain, rows)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """Return the models, what they know and what they do not; and the limits of a request."""
        return {"models": list(service.models.values()), "limits": asdict(service.limits)}

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Return that the process answers."""
        return {"status": "ok", "version": documents.VERSION}

    @app.get("/ready", responses={503: {"model": Failed}})
    async def ready() -> dict[str, str]:
        """Return whether requests are taken."""
        service.require_ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counts and times for Prometheus; nothing of an image."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(documents.HTML, media_type="text/html", headers={"Content-Security-Policy": documents.POLICY})
