"""The service as a process: its socket, its models, its end."""

import asyncio
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import numpy as np
import uvicorn
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

from aigid.core.console import print_status
from aigid.core.errors import InputError
from aigid.metrics.decisions import EvaluationSettings
from aigid.prediction import hub, inputs
from aigid.prediction.inspection import inspect_content
from aigid.prediction.predict import Predictor, predict_inspected
from aigid.serve.app import Service, create_app
from aigid.serve.limits import ApiKeys, Limits

HEAD_SECONDS = 10  # in which the head of a request must have come
IDLE_SECONDS = 10  # for which a connection is kept between requests
LOOPBACK = ("127.0.0.1", "::1", "localhost")
BACKLOG = 1024


class Protocol(H11Protocol):
    """Uvicorn's, which closes a connection that sends no whole head of a request in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def _watch(self) -> None:
        if self.cycle and not self.cycle.response_complete:  # a request is being answered
            if self._timer:
                self._timer.cancel()
                self._timer = None
        elif not self._timer:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)


class Server(uvicorn.Server):
    """Uvicorn's server, which says where it listens and, once asked to stop, takes no more."""

    def __init__(self, config: uvicorn.Config, service: Service, address: str) -> None:
        super().__init__(config)
        self._service, self._address = service, address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print_status(f"{self._address} (Ctrl-C stops it)")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that nobody can connect to yet; InputError where the address cannot be had."""
    sock = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        if sock:
            sock.close()
        raise InputError(f"--host {host} --port {port}: {error.strerror or error}") from None
    return sock


def open_models(
    sources: Sequence[Path | str], settings: EvaluationSettings, weights: str | None
) -> dict[str, Predictor]:
    """Return predictors by their folder's name or address, after a first image; InputError where weights lack."""
    predictors: dict[str, Predictor] = {}
    for source in sources:
        name = source.resolve().name if isinstance(source, Path) else source
        if name in predictors:
            raise InputError(f"--model {source}: two models are called {name}")
        predictors[name] = Predictor(hub.local(source), settings, weights)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    image = inspect_content(inputs.encode(Image.fromarray(noise)), "warm-up")
    list(predict_inspected(list(predictors.values()), [image], cached=False))
    return predictors


def serve(
    host: str, port: int, sources: Sequence[Path | str], settings: EvaluationSettings, weights: str | None,
    limits: Limits, keys: ApiKeys | None, allow_urls: bool,
) -> None:  # fmt: skip
    """Answer until SIGTERM or SIGINT, and then what runs; InputError where a port, a model or weights lack."""
    with bind(host, port) as sock:
        service = Service(open_models(sources, settings, weights), limits, allow_urls)
        for number in (signal.SIGINT, signal.SIGTERM):  # which uvicorn raises again in the end
            signal.signal(number, lambda *_: None)
        port = sock.getsockname()[1]
        hosts = frozenset((*LOOPBACK, host)) if host in LOOPBACK else frozenset[str]()
        config = uvicorn.Config(
            create_app(service, keys, hosts),
            http=Protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=int(2 * limits.seconds),
        )
        Server(config, service, f"http://{f'[{host}]' if ':' in host else host}:{port}").run([sock])
