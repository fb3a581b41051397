"""Image encoders in ONNX, run by ONNX Runtime; torch is not needed.

On a CPU images run one at a time, as many as there are threads: a graph with dynamic quantization scales activations by
the whole batch, and a product's last bits depend on its size, but an embedding must not depend on its company.
"""

import logging
import math
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from aigid.core.errors import InputError, reason
from aigid.core.files import num_workers
from aigid.features import weights
from aigid.features.backbones import BackboneSettings, fingerprint, first_image_errors
from aigid.features.preprocess import Pixels, read_record, warn_of_contradictions

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
PROVIDER_VARIABLE = "AIGID_ONNX_PROVIDER"
IMAGES_PER_THREAD, GPU_BATCH = 4, 32
FLOAT, QUANTIZE = "tensor(float)", "DynamicQuantizeLinear"
CPU_INFO = Path("/proc/cpuinfo")
PRODUCT = bytes.fromhex(  # a graph: MatMulInteger of uint8 (1, 2) by int8 ((127,), (127,))
    "08093a560a180a01610a0162120163220d4d61744d756c496e74656765721201672a0d0802080110032a027f7f4201625a130a0161120e0a0c08"
    "0212080a0208010a02080262130a0163120e0a0c080612080a0208010a02080142040a001011"
)
Floats = NDArray[np.float32]
logger = logging.getLogger(__name__)


class OnnxBackbone:
    """One frozen image encoder of an ONNX file: square uint8 images in, embeddings of width ``dim`` out."""

    threaded = False

    def __init__(self, settings: BackboneSettings) -> None:
        self.settings = settings
        self.path = weights_path(settings)
        warn_of_contradictions(settings.preprocess, settings.weights)
        self.weights_sha256 = weights.file_digest(self.path)
        self.weights_files = {self.path.name: self.weights_sha256}
        self.provider = choose_provider()
        self._layers, model = self._select_outputs()
        self._session = open_session(self.path, model, self.provider)
        self._input = _image_input(self._session, self.path, settings.preprocess.size)
        self._outputs = self._layers or [self._embedding_output()]
        mean, std = (
            np.array(values, np.float32) * 255 for values in (settings.preprocess.mean, settings.preprocess.std)
        )
        self._mean, self._std = mean[:, None, None], std[:, None, None]
        self.batch = IMAGES_PER_THREAD * num_workers()
        self._pool = ThreadPoolExecutor(num_workers())
        size = settings.preprocess.size
        with first_image_errors(size, str(self.path)):
            self.dim = self.encode(np.zeros((1, size, size, 3), np.uint8)).shape[1]

    @property
    def device_info(self) -> str:
        """Provider and precision, for the record."""
        return f"onnxruntime {onnxruntime.__version__} {self.provider}"

    @property
    def fingerprint(self) -> str:
        """Equal for two backbones that give one image the same embedding, wherever their weights came from."""
        return fingerprint(self.settings, self.weights_sha256)

    def choose_batch(self, requested: int | None, num_images: int, largest: int) -> None:
        """Keep the batch: each image runs alone."""

    def encode(self, images: Pixels) -> Floats:
        """Embed (N, S, S, 3) uint8 as (N, D), not L2-normalized."""
        return self.encode_async(images)()

    def encode_async(self, images: Pixels) -> Callable[[], Floats]:
        """Start ``encode`` and return a function that waits for its embeddings."""
        step = self._images_per_run
        jobs = [self._pool.submit(self._run, images[start : start + step]) for start in range(0, len(images), step)]
        return lambda: np.concatenate([job.result() for job in jobs])

    def _run(self, images: Pixels) -> Floats:
        pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
        pixels -= self._mean
        pixels /= self._std
        outputs = self._session.run(self._outputs, {self._input.name: pixels})
        if not self._layers:
            return np.asarray(pool_output(outputs[0], self.settings.pool), np.float32)
        return np.concatenate([pool_output(output, self.settings.pool) for output in outputs], axis=1)

    @cached_property
    def _images_per_run(self) -> int:
        fixed = self._input.shape[0]
        if isinstance(fixed, int) and fixed > 1:
            raise InputError(f"weights {self.path}: its batch is fixed to {fixed} images; export it with a free one")
        if fixed == 1:
            logger.warning("weights %s: its batch is fixed to one: images run one at a time", self.path)
        if fixed == 1 or self.provider == "cpu":
            return 1
        from aigid.features import onnx_graph

        return 1 if QUANTIZE in onnx_graph.operators(self.path) else GPU_BATCH

    def _select_outputs(self) -> tuple[list[str], bytes | None]:
        """Return the tensors to read for ``layers``, and the model with these as its only outputs."""
        settings = self.settings
        if settings.layers is None and (settings.output is None or settings.pool == "own"):
            if settings.pool != "own":
                raise InputError(
                    f"{settings.model}: pool: {settings.pool}: of an ONNX file it wants `layers`, or the name of the "
                    "tokens as `output`"
                )
            return [], None
        from aigid.features import onnx_graph

        return onnx_graph.select_outputs(self.path, settings.layers or [settings.output or ""])

    def _embedding_output(self) -> str:
        """Return the name of the output that is the embedding."""
        outputs: dict[str, list[Any]] = {output.name: output.shape for output in self._session.get_outputs()}
        if self.settings.output is not None:
            if self.settings.output not in outputs:
                raise InputError(
                    f"weights {self.path}: no output {self.settings.output!r}; it has {', '.join(outputs)}"
                )
            return self.settings.output
        flat = [name for name, shape in outputs.items() if len(shape) == 2]
        if len(flat) != 1:
            raise InputError(f"weights {self.path}: `output` must name the embedding, one of {', '.join(outputs)}")
        return flat[0]


def weights_path(settings: BackboneSettings) -> Path:
    """Return the file of an ONNX backbone; InputError where there is none."""
    path = weights.path_of(settings)
    if path is None:
        raise InputError(f"{settings.model}: an ONNX backbone wants `weights`, the path of its file")
    if not Path(path).is_file():
        raise InputError(f"weights {path}: no such file")
    return Path(path)


def preprocess_record(section: dict[str, Any]) -> dict[str, Any]:
    """Return the preprocessing by ``preprocessor_config.json`` beside the file, as transformers writes it."""
    path = Path(section.get("weights") or section["model"])
    record = path.parent / "preprocessor_config.json"
    if not path.is_file():
        raise InputError(f"weights {path}: no such file")
    if not record.is_file():
        raise InputError(
            f"{section['model']}: an ONNX graph does not say its preprocessing; put {record.name} beside it"
        )
    return read_record(record, record)


def choose_provider() -> str:
    """Return a key of ``PROVIDERS``: ``$AIGID_ONNX_PROVIDER``, else cpu; InputError where it is not installed."""
    name = os.environ.get(PROVIDER_VARIABLE, "cpu").lower()
    if name not in PROVIDERS:
        raise InputError(f"{PROVIDER_VARIABLE}={name}: want one of {', '.join(PROVIDERS)}")
    if PROVIDERS[name] not in onnxruntime.get_available_providers():
        raise InputError(f"{PROVIDER_VARIABLE}={name}: this onnxruntime has no {PROVIDERS[name]}")
    return name


def open_session(path: Path, model: bytes | None, provider: str) -> onnxruntime.InferenceSession:
    """Return a session of one thread, safe to be run from several; ``model`` stands in for the file's bytes.

    Where products of integers saturate, ``session.x64quantprecision`` takes exact ones; elsewhere these cost three
    times as much and change nothing.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if provider == "cpu":
        warn_without_avx()
        if products_saturate():
            options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4  # what it raises says why
    try:
        return onnxruntime.InferenceSession(model or str(path), options, providers=[PROVIDERS[provider]])
    except Exception as error:  # onnxruntime raises classes of its own, and RuntimeError
        raise InputError(f"weights {path}: not an ONNX model that can be run: {reason(error, 200)}") from None


@cache
def products_saturate() -> bool:
    """Return whether this CPU adds two products of uint8 and int8 in 16 bits, as those without VNNI do, silently.

    Of photographs, CLIP's embeddings then had a cosine of 0.3 to 0.6 to the exact ones.
    """
    session = onnxruntime.InferenceSession(PRODUCT, providers=[PROVIDERS["cpu"]])
    return int(session.run(None, {"a": np.full((1, 2), 255, np.uint8)})[0][0, 0]) != 2 * 255 * 127


@cache
def warn_without_avx() -> None:
    """Warn once where Linux says that the processor has no AVX: encoders run, but slowly."""
    flags = re.search(r"^flags\s*:(.*)", CPU_INFO.read_text(), re.MULTILINE) if CPU_INFO.is_file() else None
    if flags and "avx" not in flags[1].split():
        logger.warning("this processor has no AVX: encoders run several times slower than elsewhere")


def pool_output(output: Floats, pool: str) -> Floats:
    """Return (B, D) of an embedding (B, D), tokens (B, T, D) or feature maps (B, C, H, W), by ``pool``."""
    if output.ndim == 2:
        if pool != "own":
            raise InputError(f"pool: {pool}: the output is one embedding of an image; want own, or `layers`")
        return output
    if output.ndim == 4:
        if pool not in ("mean", "own"):
            raise InputError(f"pool: {pool}: feature maps have no class token; want mean")
        means: Floats = output.mean(axis=(2, 3))
        return means
    num_prefix = output.shape[1] - math.isqrt(output.shape[1]) ** 2  # the patches' grid is a square
    if pool != "mean" and not num_prefix:
        raise InputError(f"pool: {pool}: {output.shape[1]} tokens hold no class token; want mean")
    parts = {"cls": output[:, 0], "mean": output[:, num_prefix:].mean(axis=1)}
    if pool not in ("cls", "mean", "cls_mean"):
        raise InputError(f"pool: {pool}: of tokens it must be cls, mean or cls_mean")
    return np.concatenate([parts[name] for name in pool.split("_")], axis=1)


def _image_input(session: onnxruntime.InferenceSession, path: Path, size: int | None) -> Any:
    """Return the one input, float32 (B, 3, S, S); InputError names what a graph has in its place."""
    inputs = session.get_inputs()
    listed = ", ".join(f"{value.name} {value.type} {value.shape}" for value in inputs)
    if len(inputs) != 1:
        raise InputError(f"weights {path}: {len(inputs)} inputs ({listed}); want one, of images")
    shape = inputs[0].shape
    if inputs[0].type != FLOAT or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise InputError(f"weights {path}: its input is {listed}; want float32 images (B, 3, S, S)")
    if size is not None and any(isinstance(side, int) and side != size for side in shape[2:]):
        raise InputError(f"weights {path}: its input is {listed}; `preprocess` makes images of {size} px")
    return inputs[0]
