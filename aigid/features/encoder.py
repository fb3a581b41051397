"""A frozen backbone in torch: pixels in, embeddings out."""

import copy
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aigid.core.errors import InputError
from aigid.features import checkpoints, vit, weights
from aigid.features.backbones import LARGEST_BATCH, BackboneSettings, fingerprint, first_image_errors
from aigid.features.preprocess import Pixels, Preprocess, warn_of_contradictions

MIN_BATCH = 4  # images in a CPU's batch: with fewer a matrix product's last bits differ, and so do float16 values
SMALLEST = 8  # batch size on CUDA
MEMORY_FRACTION = 0.5  # of the free memory
CPU_BATCH, CPU_BATCH_LARGE, LARGE = 16, 4, 20_000_000  # images; of a network of at least LARGE parameters
Embeddings = NDArray[np.float32]
Pending = Callable[[], Embeddings]  # waits for embeddings


class TorchBackbone:
    """One frozen network on a device: square uint8 images in, embeddings of width ``dim`` out.

    It always encodes ``batch`` images at a time, the last ones padded: a matrix product's last bits depend on its size,
    and an embedding must not depend on batch composition. Where the device has too little memory, ``batch`` is halved.
    With ``half`` it computes in float16, and again in float32 what overflows. A CPU computes in bfloat16, whose noise
    is that of recompressing the image, only where ``precision`` says so.
    """

    def __init__(
        self, settings: BackboneSettings, device: torch.device, batch: int = 1, half: bool | None = None
    ) -> None:
        self.settings = settings = _resolve_precision(_library_of_checkpoint(settings), device)
        self.device = device
        self.threaded = device.type == "cpu"
        self.batch = batch
        self._min_batch = MIN_BATCH if device.type == "cpu" else 1
        self.half = device.type == "cuda" and settings.dtype == "float16" if half is None else half
        self.network = load_encoder(settings).requires_grad_(False).eval()
        self.weights_sha256 = checkpoints.state_dict_hash(self.network)
        self.weights_files = weights.file_digests(weights.path_of(settings))
        if self.half:
            self._narrow = copy.deepcopy(self.network).half().to(device)  # the wide one waits where it was loaded
        else:
            self.network.to(device)
        self._mean, self._std = _mean_std(settings.preprocess, device)
        self._thread = threading.local()
        size = settings.preprocess.size
        with first_image_errors(size, settings.weights or settings.model):
            self.dim = self.encode(np.zeros((1, size, size, 3), np.uint8)).shape[1]

    @property
    def device_info(self) -> str:
        """Device and precision, for the record."""
        return f"{self.device.type} {'float16' if self.half else self.settings.precision}"

    @property
    def fingerprint(self) -> str:
        """Equal for two backbones that give one image the same embedding, wherever their weights came from."""
        return fingerprint(self.settings, self.weights_sha256)

    def choose_batch(self, requested: int | None, num_images: int, largest: int = LARGEST_BATCH) -> None:
        """Set the batch to ``requested``, else on CUDA to what fits, up to ``largest``, on a CPU by the parameters.

        A CPU's is the same for any number of images, as on some CPUs a product's last bits depend on it; others are at
        most about ``num_images``. Measured ones are powers of two, which threads that share a batch share evenly.
        """
        if requested is None and self.device.type != "cuda":
            num_parameters = sum(parameter.numel() for parameter in self.network.parameters())
            self.batch = CPU_BATCH_LARGE if num_parameters >= LARGE else CPU_BATCH
        else:
            size = requested or min(_measure_batch_size(self), largest)
            self.batch = min(size, power_of_two(2 * num_images - 1))

    def encode(self, images: Pixels) -> Embeddings:
        """Embed (N, S, S, 3) uint8 as (N, D), not L2-normalized; InputError where one image is too much memory."""
        return self.encode_async(images)()

    def encode_async(self, images: Pixels) -> Pending:
        """Start ``encode`` and return a function that waits for its embeddings; asynchronous on CUDA alone."""
        jobs = self._start_batches(images, self.half)
        return lambda: np.concatenate([self._finish(*job) for job in jobs])

    def _start_batches(self, images: Pixels, half: bool) -> list[tuple[Pixels, Pending]]:
        jobs, start = [], 0
        while start < len(images):
            batch = images[start : start + self.batch]
            try:
                jobs.append((batch, self._start(batch, half)))
            except torch.OutOfMemoryError:
                self._halve_batch()
            else:
                start += len(batch)
        return jobs

    @torch.inference_mode()
    def _start(self, images: Pixels, half: bool) -> Pending:
        """Embed at most ``batch`` images, padded, without waiting."""
        num = len(images)
        if missing := max(self.batch, self._min_batch) - num:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        pixels = torch.from_numpy(images)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        pixels = self._normalize(pixels.to(self.device).permute(0, 3, 1, 2))
        if half:
            return _copy_to_host(self._narrow(pixels.half())[:num].float())
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            embeddings: Tensor = self.network(pixels)
        return _copy_to_host(embeddings[:num].float())

    def _normalize(self, pixels: Tensor) -> Tensor:
        """Map (B, 3, S, S) uint8 to float32, channels-last on CUDA, where convolutions gain by it; a CPU's lose.

        A CPU reuses one buffer per thread: page faults of new ones took most of the time.
        """
        if self.device.type != "cpu":
            return (pixels.float() - self._mean) / self._std
        buffer: Tensor | None = getattr(self._thread, "buffer", None)
        if buffer is None or buffer.shape != pixels.shape:
            buffer = self._thread.buffer = torch.empty(pixels.shape)
        return buffer.copy_(pixels).sub_(self._mean).div_(self._std)

    def _finish(self, images: Pixels, pending: Pending) -> Embeddings:
        embeddings = pending()
        if not self.half or np.isfinite(embeddings).all():
            return embeddings
        self.network.to(self.device)
        return np.concatenate([again() for _, again in self._start_batches(images, half=False)])

    def _halve_batch(self) -> None:
        if self.batch == self._min_batch == 1:
            raise InputError(f"{self.settings.model}: {self.device} has too little memory for one image at a time")
        if self.batch == 1:
            self._min_batch = 1
        self.batch = max(self.batch // 2, 1)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def normalize(images: Pixels | Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    """Map (N, S, S, 3) uint8 to a network's training input, (N, 3, S, S) float32, channels-last in memory."""
    mean, std = _mean_std(preprocess, device)
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    return (pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float() - mean) / std


def _mean_std(preprocess: Preprocess, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and std on the scale 0 to 255, (1, 3, 1, 1) each."""
    mean, std = torch.tensor([preprocess.mean, preprocess.std], device=device).view(2, 1, 3, 1, 1) * 255
    return mean, std


def _copy_to_host(embeddings: Tensor) -> Pending:
    """Start copying (N, D) float32 from the device."""
    if embeddings.device.type != "cuda":
        return embeddings.cpu().numpy
    host = torch.empty(embeddings.shape, pin_memory=True).copy_(embeddings, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait() -> Embeddings:
        arrived.synchronize()
        array: Embeddings = host.numpy()
        return array

    return wait


def _library_of_checkpoint(settings: BackboneSettings) -> BackboneSettings:
    """Let transformers load a CLIP whose local snapshot is in transformers' format."""
    folder = Path(settings.weights or "/dev/null")
    configs = {name for name in ("config.json", "open_clip_config.json") if (folder / name).is_file()}
    return settings.model_copy(update={"library": "transformers"}) if configs == {"config.json"} else settings


def _resolve_precision(settings: BackboneSettings, device: torch.device) -> BackboneSettings:
    """Decide ``precision: auto``: bfloat16 on a CPU that multiplies it in hardware, else float32."""
    fast = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    precision = ("bfloat16" if fast else "float32") if settings.precision == "auto" else settings.precision
    return settings.model_copy(update={"precision": precision if device.type == "cpu" else "float32"})


def load_encoder(settings: BackboneSettings) -> nn.Module:
    """Return the network on the CPU, normalized (B, 3, S, S) to (B, D), with its adapter merged."""
    if settings.high_pass and (settings.config is None or settings.weights is not None):
        raise InputError(f"{settings.model}: high_pass is for encoders of random weights, built from a config")
    warn_of_contradictions(settings.preprocess, settings.weights)
    network: nn.Module = import_module(f"aigid.features.loaders.{settings.library}").load(settings)
    if settings.high_pass:
        patches = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            patches.weight -= patches.weight.mean(dim=(2, 3), keepdim=True)
    if settings.adapter is not None:
        from aigid.features import lora

        network = lora.merge(network, Path(settings.adapter))
    if settings.pool not in ("own", "before_projection"):
        vit.FeatureHooks(network, settings.layers, settings.pool)
    return network.eval()  # a batch norm in training takes even a look at its output's width for data


def output_width(network: nn.Module, size: int, name: str = "") -> int:
    """Return the width of an encoder's embeddings of images of ``size`` px."""
    device = next(network.parameters(), torch.empty(0)).device
    with torch.inference_mode(), first_image_errors(size, name or "of the backbone"):
        return int(network(torch.zeros(1, 3, size, size, device=device)).shape[1])


def largest_that_fits(free: int, peaks: tuple[int, int], batches: tuple[int, int]) -> int:
    """Return the batch size that fits into a share of ``free`` bytes, given the peak memory of two smaller ones."""
    bytes_per_image = max((peaks[1] - peaks[0]) / (batches[1] - batches[0]), 1)
    return min(max(power_of_two(int(MEMORY_FRACTION * free / bytes_per_image)), 1), LARGEST_BATCH)


def power_of_two(limit: int) -> int:
    """Return the largest power of two up to ``limit``; 0 where there is none."""
    return 1 << limit.bit_length() >> 1


def _measure_batch_size(backbone: TorchBackbone) -> int:
    size, device, peaks = backbone.settings.preprocess.size, backbone.device, []
    for backbone.batch in (SMALLEST, 2 * SMALLEST):
        torch.cuda.reset_peak_memory_stats(device)
        backbone.encode(np.zeros((backbone.batch, size, size, 3), np.uint8))
        peaks.append(torch.cuda.max_memory_allocated(device))
    return largest_that_fits(torch.cuda.mem_get_info(device)[0], (peaks[0], peaks[1]), (SMALLEST, 2 * SMALLEST))
