"""The service on a small bundle: asked as an application, or over a socket."""

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import pandas as pd
import uvicorn
from onnx import helper, numpy_helper
from PIL import Image

from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import Provenance
from aigid.detectors.probe import LinearProbe
from aigid.features.backbones import BackboneSettings
from aigid.prediction.predict import Predictor
from aigid.serve import server
from aigid.serve.app import Service, create_app
from aigid.serve.limits import ApiKeys, Limits


def grain(seed: int = 0, size: int = 40, sigma: int = 8) -> bytes:
    """A PNG of a flat colour with noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, sigma, (size, size, 3)) + rng.integers(60, 200, 3)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def write_bundle(folder: Path) -> Path:
    """A calibrated probe on an encoder that is one product of 32 x 32 pixels by random numbers; no torch."""
    rng, label = np.random.default_rng(0), np.arange(200) % 2
    weight = numpy_helper.from_array(rng.normal(0, 0.03, (3072, 16)).astype(np.float32), "weight")
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["out"])]
    sides = [helper.make_tensor_value_info(*side) for side in (("pixels", 1, ["n", 3, 32, 32]), ("out", 1, ["n", 16]))]
    graph = helper.make_graph(nodes, "tiny", sides[:1], sides[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "tiny.onnx")
    backbone = {"library": "onnx", "model": "tiny", "weights": str(folder / "tiny.onnx"), "preprocess": {"size": 32}}
    section = BackboneSettings.model_validate(backbone).model_dump(mode="json")
    rows = {"path": label.cumsum().astype(str), "label": label, "generator": np.where(label, "a", "real")}
    validation = pd.DataFrame(rows | {"split": "val", "view": "clean", "score": rng.beta(2 + label, 3 - label)})
    origin = Provenance([section], training={"images": {"train": {"grain": 8, "real": 9}}})
    probe = LinearProbe(rng.normal(size=16), 0.0, {})
    bundles.save(bundles.Bundle("probe", probe, {}, [], origin, validation), folder / "bundle")
    return folder / "bundle"


@contextmanager
def service_of(bundle: Path, allow_urls: bool = False, **limits: float) -> Iterator[Service]:
    service = Service({"bundle": Predictor(bundle)}, Limits(**limits), allow_urls)
    yield service
    service.engine.close()


def ask(service: Service, *calls: dict, keys: ApiKeys | None = None, hosts: frozenset = frozenset()) -> list:
    """The answers to requests that are sent together; a call without ``method`` is a POST of an image or more."""

    async def send() -> list:
        transport = httpx.ASGITransport(create_app(service, keys, hosts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            return await asyncio.gather(
                *(client.request(**({"method": "POST", "url": "/v1/detect"} | call)) for call in calls)
            )

    return asyncio.run(send())


@contextmanager
def listening(service: Service) -> Iterator[tuple[str, uvicorn.Server]]:
    """The service's address, with the server behind it, until the block ends."""
    with server.bind("127.0.0.1", 0) as sock:
        address = f"http://127.0.0.1:{sock.getsockname()[1]}"
        config = uvicorn.Config(create_app(service), http=server.Protocol, ws="none", log_config=None, access_log=False)
        running = server.Server(config, service, address)
        thread = threading.Thread(target=running.run, args=([sock],))
        thread.start()
        while not running.started:
            thread.join(0.01)
        try:
            yield address, running
        finally:
            running.should_exit = True
            thread.join()
