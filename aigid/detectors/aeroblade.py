"""AEROBLADE (Ricker et al., CVPR 2024): a latent diffusion model's images survive its autoencoder almost unchanged."""

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from scipy.special import expit
from sklearn.metrics import log_loss
from torch import nn
from tqdm import tqdm

from aigid.core import embeddings, seeding
from aigid.core.errors import InputError, reason
from aigid.core.files import choose_device, device_name, num_workers
from aigid.core.params import Settings
from aigid.core.special import fit_platt
from aigid.core.texts import batches
from aigid.detectors.protocol import BaseDetector, Scores
from aigid.detectors.samples import Floats, Ints, Samples
from aigid.features.preprocess import Preprocess
from aigid.features.reader import Reader, ReadRequest, ViewSpec
from aigid.generators import BATCH, PIXELS
from aigid.generators.autoencoder_kl import check, folder_of, load_any, reconstruct, require_divisible
from aigid.training import prior


class AerobladeSettings(Settings):
    """NYCU compared 512 px images by VGG-16's second block and took the best of three autoencoders.

    Without ``vgg`` and ``linear`` the features are those of a narrow network of random weights: no download.
    """

    dataset: str  # the dataset whose validation images calibrate
    size: Annotated[int, Field(ge=8, le=2048)] = 512  # px, whatever the image's aspect
    autoencoders: tuple[str, ...] = ()  # folders of diffusers' AutoencoderKL, besides the pipeline's
    vq_models: tuple[str, ...] = ()  # folders of diffusers' VQModel, such as Kandinsky 2.1's movq
    latent: Literal["mode", "sample"] = "mode"  # of an AutoencoderKL; the published code samples
    vgg: str | None = None  # torchvision's vgg16, a file
    linear: str | None = None  # LPIPS's weights of its layers, lpips/weights/v0.1/vgg.pth
    width: Annotated[int, Field(ge=1)] = 8  # of the random features

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.vgg is None) != (self.linear is None):
            raise ValueError("vgg and linear belong together: give both files or neither")
        return self


FILE = "distance.safetensors"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's, of pixels in [-1, 1]
TINY_WIDTH = 64  # of VGG-16's first layer


class Lpips(nn.Module):
    """LPIPS at one layer (Zhang et al., CVPR 2018): weighted squared differences of features of length 1."""

    weights: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: nn.Module, weights: torch.Tensor) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.register_buffer("weights", weights.view(1, -1, 1, 1))
        for name, part in {"shift": SHIFT, "scale": SCALE}.items():
            self.register_buffer(name, torch.tensor(part).view(1, 3, 1, 1), persistent=False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return distances (B,) of images (B, 3, S, S) in [-1, 1]."""
        a, b = (self._unit(self.features((part - self.shift) / self.scale)) for part in (a, b))
        return (self.weights * (a - b).square()).sum(dim=1).mean(dim=(1, 2))

    @staticmethod
    def _unit(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def vgg_layers(width: int) -> nn.Sequential:
    """Return VGG-16 up to relu2_2, if it is 64 wide; the names of its tensors are torchvision's."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise((3, width, width, 2 * width, 2 * width))):
        layers += [nn.MaxPool2d(2)] if number == 2 else []
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def from_pretrained(vgg: Path, linear: Path) -> Lpips:
    """Return LPIPS's second layer from local files: torchvision's ``vgg16`` and LPIPS's ``vgg.pth``."""
    try:
        net, tensors = vgg_layers(TINY_WIDTH), torch.load(vgg, map_location="cpu", weights_only=True)
        net.load_state_dict({name: tensors[f"features.{name}"] for name in net.state_dict()})
        weights = torch.load(linear, map_location="cpu", weights_only=True)["lin1.model.1.weight"]
    except (OSError, RuntimeError, KeyError, UnpicklingError) as error:
        raise InputError(f"{vgg}, {linear}: not VGG-16 and LPIPS's linear layers: {reason(error)}") from None
    return Lpips(net, weights)


def random(width: int, seed: int) -> Lpips:
    """Return the same layers, ``width`` wide and of random weights, all channels weighted equally."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive_seed("aeroblade", seed))
        return Lpips(vgg_layers(width), torch.full((2 * width,), 1 / (2 * width)))


class ReconstructionScorer:
    """Measures how well autoencoders reconstruct images, each image once in a view."""

    def __init__(self, distance: Lpips, size: int, folders: Sequence[Path], seed: int, latent: str = "mode") -> None:
        device, self.latent = choose_device(device_name()), latent
        self.vaes: list[Any] = [load_any(folder) for folder in folders]
        for vae in self.vaes:
            require_divisible(vae, size, "aeroblade.size")
            vae.to(device)
        self.distance, self.seed = distance.to(device), seed
        self.preprocess = Preprocess(size=size, resize="squash", interpolation="bilinear")
        self.batch = min(BATCH, max(PIXELS // size**2, 1))
        self._known: dict[tuple[str, str], tuple[float, str]] = {}
        self.messages: dict[str, str] = {}  # why images cannot be read, by their sha256

    def closeness(self, samples: Samples, view: str) -> tuple[Floats, NDArray[Any]]:
        """Return the closeness (N,) of every image, NaN where it cannot be read, and its status (N,)."""
        spec, digests = ViewSpec(view, self.preprocess), samples.table["sha256"]
        paths = dict(zip(digests, samples.table["path"], strict=True))
        todo = [ReadRequest(0, path, key, (spec,)) for key, path in paths.items() if (view, key) not in self._known]
        read = Reader(samples.root, self.seed, samples.pixels).samples(todo, num_workers(), 4 * self.batch)
        for images in batches(tqdm(read, total=len(todo), unit="image", desc=view, disable=None), self.batch):
            for image in images:
                self._known[view, image.sha256] = (np.nan, str(image.status))
                self.messages |= {image.sha256: image.message} if image.message else {}
            if ok := [image for image in images if image.status == embeddings.OK]:
                pixels, sampled = np.stack([image.inputs[spec] for image in ok]), self.latent == "sample"
                seeds = [seeding.derive_seed("latent", self.seed, image.sha256) for image in ok] if sampled else None
                values = similarity(pixels, self.vaes, self.distance, seeds)
                for image, value in zip(ok, values, strict=True):
                    self._known[view, image.sha256] = (float(value), embeddings.OK)
        closeness, status = zip(*(self._known[view, key] for key in digests), strict=True)
        return np.array(closeness), np.array(status, dtype=object)


@torch.inference_mode()
def similarity(
    images: NDArray[np.uint8], vaes: Sequence[Any], distance: Lpips, seeds: Sequence[int] | None = None
) -> Floats:
    """Return the largest negated distance over the autoencoders (N,) of images (N, S, S, 3) uint8.

    ``seeds`` are those of `reconstruct`.
    """
    device = distance.weights.device
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    copies = (torch.from_numpy(reconstruct(vae, images, seeds)).to(device).permute(0, 3, 1, 2) for vae in vaes)
    closeness: Floats = torch.stack([-distance(pixels, copy) for copy in copies]).amax(dim=0).cpu().numpy()
    return closeness


class Aeroblade(BaseDetector):
    """P(generated) by Platt's sigmoid of the closeness, fitted on val; its slope is not negative.

    Where generated validation images are no closer, the slope is 0, every score the same, and ``logs`` say so.

    ``vaes`` are the autoencoders' folders, ``size`` is in px, ``latent`` says what is taken of a posterior.
    """

    Settings = AerobladeSettings

    learns_from = ("val",)

    def __init__(
        self, slope: float, offset: float, distance: Lpips, size: int, vaes: Sequence[Path] = (), latent: str = "mode"
    ) -> None:
        self.slope, self.offset, self.distance = slope, offset, distance
        self.size, self.vaes, self.latent = size, list(vaes), latent
        self._scorer: ReconstructionScorer | None = None

    @classmethod
    def fit(cls, settings: AerobladeSettings, train: Samples, val: Samples, seed: int, *, vae: Path) -> Self:
        """Return the detector calibrated on val, by the pipeline's own autoencoder and those of the settings."""
        vaes = [folder_of(folder) for folder in (vae, *map(Path, settings.autoencoders))]
        vaes += [folder_of(Path(folder), "VQModel") for folder in settings.vq_models]
        if settings.vgg is None or settings.linear is None:
            distance = random(settings.width, seed)
        else:
            distance = from_pretrained(Path(settings.vgg), Path(settings.linear))
        scorer = ReconstructionScorer(distance, settings.size, vaes, seed, settings.latent)
        values, _ = scorer.closeness(val, "clean")
        fitted = cls.calibrate(values, val.table["label"].to_numpy(), scorer.distance, settings.size, vaes)
        fitted._scorer, fitted.latent = scorer, settings.latent
        return fitted

    @classmethod
    def calibrate(cls, similarity: Floats, labels: Ints, distance: Lpips, size: int, vaes: Sequence[Path] = ()) -> Self:
        """Return the detector from the closeness (N,) and labels (N,) of validation images; NaN is left out."""
        ok = ~np.isnan(similarity)
        if len(set(labels[ok].tolist())) < 2:
            raise InputError("aeroblade: split val: reals and generated images are both needed to calibrate")
        slopes, offsets = fit_platt(similarity[ok][:, None], 1 - labels[ok], 2)
        fitted = cls(float(slopes[0]), float(offsets[0]), distance, size, vaes)
        loss = log_loss(labels[ok], fitted.p_generated(similarity[ok]))
        fitted.logs = {"calibration": prior.table([loss], prior.prior_loss(labels[ok]))}
        return fitted

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return P(generated) of images, each measured once in a view."""
        if self._scorer is None or self._scorer.seed != samples.seed:
            self._scorer = ReconstructionScorer(self.distance, self.size, self.vaes, samples.seed, self.latent)
        results = {view: self._scorer.closeness(samples, view) for view in views}
        status = results[views[-1]][1]
        known, digests = self._scorer.messages, samples.table["sha256"]
        messages = {row: known[key] for row, key in enumerate(digests) if key in known}
        return Scores(status, {view: self.p_generated(values) for view, (values, _) in results.items()}, messages)

    def p_generated(self, similarity: Floats) -> Floats:
        """Return P(generated) (N,) float64 of the closeness (N,)."""
        scores: Floats = expit(self.slope * similarity + self.offset)
        return scores

    def save(self, folder: Path) -> dict[str, Any]:
        for number, vae in enumerate(self.vaes):
            shutil.copytree(vae, folder / f"autoencoder{number}", copy_function=shutil.copyfile)
        save_file({name: value.cpu() for name, value in self.distance.state_dict().items()}, folder / FILE)
        return {"slope": self.slope, "offset": self.offset, "size": self.size, "latent": self.latent}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        vaes, tensors = sorted(path for path in folder.iterdir() if path.is_dir()), load_file(folder / FILE)
        distance = Lpips(vgg_layers(len(tensors["features.0.weight"])), tensors["weights"])
        distance.load_state_dict(tensors)
        for vae in vaes:
            check(vae)
        return cls(state["slope"], state["offset"], distance, state["size"], vaes, state.get("latent", "mode"))


Detector = Aeroblade
