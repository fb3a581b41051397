"""A loaded backbone: pixels in, embeddings out, and a fingerprint of all that decides them."""

import copy
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aigid.core.errors import InputError
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings
from aigid.features.preprocess import Preprocess

MIN_BATCH = (
    4  # images in a CPU's product: of fewer its last bits differ, and float16 rounds a few of those up to its own
)


class Backbone:
    """One frozen tower on a device: square uint8 images in, embeddings of width ``dim`` out.

    It always encodes ``batch`` images at a time, the last ones padded: a matrix product's last bits depend on its size,
    and an image's embedding must not depend on its company. Where the device has too little memory for them, ``batch``
    is halved. With ``half`` it computes in float16, and again in float32 what overflows; bfloat16, whose noise is that
    of recompressing the image, is never used.
    """

    def __init__(
        self, settings: BackboneSettings, device: torch.device, batch: int = 1, half: bool | None = None
    ) -> None:
        self.settings = settings = _dtype_of_checkpoint(settings)
        self.device = device
        self.batch = batch
        self._fewest = MIN_BATCH if device.type == "cpu" else 1
        self.half = device.type == "cuda" and settings.dtype == "float16" if half is None else half
        self.tower = load_encoder(settings).requires_grad_(False).eval()
        self.weights_sha256 = checkpoints.state_dict_hash(self.tower)
        self.weights_files = checkpoints.hashes(settings.weights)
        if self.half:
            self._narrow = copy.deepcopy(self.tower).half().to(device)  # the wide one waits where it was loaded
        else:
            self.tower.to(device)
        scale = torch.tensor([settings.preprocess.mean, settings.preprocess.std], device=device) * 255
        self._mean, self._std = scale.view(2, 1, 3, 1, 1)
        self._kept = threading.local()
        size = settings.preprocess.size
        self.dim = self.encode(np.zeros((1, size, size, 3), np.uint8)).shape[1]

    @property
    def computes_on(self) -> str:
        """Device and precision, for the record."""
        return f"{self.device.type} {'float16' if self.half else 'float32'}"

    @property
    def fingerprint(self) -> str:
        """Equal for two backbones that give one image the same embedding, wherever their weights came from."""
        return fingerprint(self.settings, self.weights_sha256)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 to (N, D) float32, not L2-normalised; InputError where one image is too much memory."""
        return self.submit(images)()

    def submit(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Start ``encode``; calling what is returned waits for the embeddings. Only CUDA goes on meanwhile."""
        jobs = self._start_all(images, self.half)
        return lambda: np.concatenate([self._finish(*job) for job in jobs])

    def _start_all(self, images: np.ndarray, half: bool) -> list[tuple[np.ndarray, "PendingEmbeddings"]]:
        """Parts of the images, each with its embeddings on their way."""
        jobs, start = [], 0
        while start < len(images):
            part = images[start : start + self.batch]
            try:
                jobs.append((part, self._start(part, half)))
            except torch.OutOfMemoryError:
                self._halve()
            else:
                start += len(part)
        return jobs

    @torch.inference_mode()
    def _start(self, images: np.ndarray, half: bool) -> "PendingEmbeddings":
        """Embed at most ``batch`` images, padded, without waiting."""
        if lacking := max(self.batch, self._fewest) - len(images):
            images = np.concatenate([images, np.zeros((lacking, *images.shape[1:]), np.uint8)])
        pixels = torch.from_numpy(images)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        pixels = self._normalised(pixels.to(self.device).permute(0, 3, 1, 2))
        embedded = self._narrow(pixels.half()) if half else self.tower(pixels)
        return PendingEmbeddings(embedded[: len(images) - lacking].float())

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) uint8, channels-last in memory, to float32: on CUDA still so, where convolutions gain by it.

        A CPU's lose by it; and there a buffer that its thread keeps saves a new one's page faults, most of the time.
        """
        if self.device.type != "cpu":
            return (pixels.float() - self._mean) / self._std
        buffer = getattr(self._kept, "buffer", None)
        if buffer is None or buffer.shape != pixels.shape:
            buffer = self._kept.buffer = torch.empty(pixels.shape)
        return buffer.copy_(pixels).sub_(self._mean).div_(self._std)

    def _finish(self, images: np.ndarray, underway: "PendingEmbeddings") -> np.ndarray:
        embedded = underway.wait()
        if not self.half or np.isfinite(embedded).all():
            return embedded
        self.tower.to(self.device)
        return np.concatenate([again.wait() for _, again in self._start_all(images, half=False)])

    def _halve(self) -> None:
        if self.batch == self._fewest == 1:
            raise InputError(f"{self.settings.model}: {self.device} has too little memory for one image at a time")
        if self.batch == 1:
            self._fewest = 1
        self.batch = max(self.batch // 2, 1)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def fingerprint(settings: BackboneSettings, weights_sha256: str) -> str:
    """That of the backbone whose tower has tensors of this sha256."""
    facts = settings.model_dump(mode="json", exclude={"pretrained", "revision", "weights", "adapter", "seed"})
    return hashlib.sha256(json.dumps([facts, weights_sha256], sort_keys=True).encode()).hexdigest()


def normalize(images: np.ndarray, how: Preprocess, device: torch.device) -> Tensor:
    """(N, S, S, 3) uint8 to what a tower in training takes: (N, 3, S, S) float32, channels-last in memory."""
    mean, std = torch.tensor([how.mean, how.std], device=device).view(2, 1, 3, 1, 1) * 255
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return (pixels.float() - mean) / std


class PendingEmbeddings:
    """(N, D) float32 on their way from the device."""

    def __init__(self, embedded: Tensor) -> None:
        self._arrived = None
        if embedded.device.type == "cuda":
            self._host = torch.empty(embedded.shape, pin_memory=True)
            self._host.copy_(embedded, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._host = embedded.cpu()

    def wait(self) -> np.ndarray:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host.numpy()


def _dtype_of_checkpoint(settings: BackboneSettings) -> BackboneSettings:
    """A CLIP whose local snapshot is in transformers' format is loaded by transformers."""
    folder = Path(settings.weights or "/dev/null")
    known = {name for name in ("config.json", "open_clip_config.json") if (folder / name).is_file()}
    return settings.model_copy(update={"library": "transformers"}) if known == {"config.json"} else settings


def load_encoder(settings: BackboneSettings) -> nn.Module:
    """The tower on the CPU: normalised (B, 3, S, S) to (B, D); an adapter is merged."""
    if settings.high_pass and (settings.config is None or settings.weights is not None):
        raise InputError(f"{settings.model}: high_pass is for towers of random weights, built from a config")
    if settings.library == "open_clip":
        from aigid.features.loaders import open_clip as library
    elif settings.library == "timm":
        from aigid.features.loaders import timm as library
    else:
        from aigid.features.loaders import transformers as library
    tower = library.load(settings)
    if settings.high_pass:
        patches = next(module for module in tower.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            patches.weight -= patches.weight.mean(dim=(2, 3), keepdim=True)
    if settings.adapter is not None:
        from aigid.features import lora

        tower = lora.merge(tower, Path(settings.adapter))
    return tower


# How many images a tower encodes at once.

SMALLEST, LARGEST = 8, 256  # on CUDA; beyond, a GPU gains nothing
MEMORY_FRACTION = 0.5  # of the free memory
ON_CPU, OF_LARGE, LARGE = 16, 4, 20_000_000  # images to a CPU, of a tower of so many parameters


def choose_batch_size(backbone: Backbone, asked: int | None, num_images: int, largest: int = LARGEST) -> None:
    """Set a tower's batch: as ``asked``, or on CUDA what is found to fit, up to ``largest``; on a CPU by its size.

    A CPU's is the same for one image as for a million: on some, a product's last bits depend on the batch. Others are
    never much more than there are images. All found are powers of two, which threads that share a batch share evenly.
    """
    if asked is None and backbone.device.type != "cuda":
        num_parameters = sum(parameter.numel() for parameter in backbone.tower.parameters())
        backbone.batch = OF_LARGE if num_parameters >= LARGE else ON_CPU
    else:
        backbone.batch = min(asked or min(_found(backbone), largest), power_of_two(2 * num_images - 1))


def largest_that_fits(free: int, peaks: tuple[int, int], batches: tuple[int, int]) -> int:
    """The batch that fits into a share of ``free`` bytes, given the peak memory of two smaller ones."""
    each = max((peaks[1] - peaks[0]) / (batches[1] - batches[0]), 1)
    return min(max(power_of_two(int(MEMORY_FRACTION * free / each)), 1), LARGEST)


def power_of_two(most: int) -> int:
    """The largest power of two up to ``most``; 0 where there is none."""
    return 1 << most.bit_length() >> 1


def _found(backbone: Backbone) -> int:
    batches, peaks = (SMALLEST, 2 * SMALLEST), []
    size = backbone.settings.preprocess.size
    for backbone.batch in batches:
        torch.cuda.reset_peak_memory_stats(backbone.device)
        backbone.encode(np.zeros((backbone.batch, size, size, 3), np.uint8))
        peaks.append(torch.cuda.max_memory_allocated(backbone.device))
    return largest_that_fits(torch.cuda.mem_get_info(backbone.device)[0], tuple(peaks), batches)
