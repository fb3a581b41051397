"""Every number of AEROBLADE."""

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from scipy.special import expit
from torch import nn
from tqdm import tqdm

from aigid.core import embeddings, seeding
from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name, num_workers
from aigid.core.params import Settings
from aigid.detectors.cnn.data import BATCH, PIXELS, batches
from aigid.detectors.protocol import ImageDetector, Scores
from aigid.detectors.samples import Samples
from aigid.detectors.svm.kernel import fit_platt
from aigid.features.preprocess import Preprocess
from aigid.features.reader import Reader, ReadRequest, ViewSpec
from aigid.generators.autoencoder_kl import folder_of, load, reconstruct, require_divisible


class AerobladeSettings(Settings):
    """NYCU compared 512 px images by VGG-16's second block and took the best of three autoencoders.

    Without ``vgg`` and ``linear`` the features are those of a narrow network of random weights: no download.
    """

    dataset: str  # the dataset whose validation images calibrate
    size: Annotated[int, Field(ge=8, le=2048)] = 512  # px, whatever the image's aspect
    autoencoders: tuple[str, ...] = ()  # folders of diffusers', beside the pipeline's own
    vgg: str | None = None  # torchvision's vgg16, a file
    linear: str | None = None  # LPIPS's weights of its layers, lpips/weights/v0.1/vgg.pth
    width: Annotated[int, Field(ge=1)] = 8  # of the random features

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.vgg is None) != (self.linear is None):
            raise ValueError("vgg and linear belong together: give both files or neither")
        return self


DetectorSettings = AerobladeSettings


# LPIPS at its second layer: how far apart two images look.
#
# A latent diffusion model's own images come back almost unchanged through its autoencoder.

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's, of pixels in [-1, 1]
TINY_WIDTH = 64  # of VGG-16's first layer


class Lpips(nn.Module):
    """LPIPS at one layer (Zhang et al., CVPR 2018): weighted squared differences of features of length 1."""

    def __init__(self, features: nn.Module, weights: torch.Tensor) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.register_buffer("weights", weights.view(1, -1, 1, 1))
        for name, part in {"shift": SHIFT, "scale": SCALE}.items():
            self.register_buffer(name, torch.tensor(part).view(1, 3, 1, 1), persistent=False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Distances (B,) of images (B, 3, S, S) in [-1, 1]."""
        a, b = (self._unit(self.features((part - self.shift) / self.scale)) for part in (a, b))
        return (self.weights * (a - b).square()).sum(dim=1).mean(dim=(1, 2))

    @staticmethod
    def _unit(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def vgg_layers(width: int) -> nn.Sequential:
    """VGG-16 up to relu2_2, if it is 64 wide; the names of its tensors are torchvision's."""
    found: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise((3, width, width, 2 * width, 2 * width))):
        found += [nn.MaxPool2d(2)] if number == 2 else []
        found += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*found)


def from_pretrained(vgg: Path, linear: Path) -> Lpips:
    """LPIPS's second layer from local files: torchvision's ``vgg16`` and LPIPS's ``vgg.pth``."""
    try:
        net, tensors = vgg_layers(TINY_WIDTH), torch.load(vgg, map_location="cpu", weights_only=True)
        net.load_state_dict({name: tensors[f"features.{name}"] for name in net.state_dict()})
        weights = torch.load(linear, map_location="cpu", weights_only=True)["lin1.model.1.weight"]
    except (OSError, RuntimeError, KeyError, UnpicklingError) as failure:
        raise InputError(
            f"{vgg}, {linear}: not VGG-16 and LPIPS's linear layers: {str(failure).splitlines()[0]}"
        ) from None
    return Lpips(net, weights)


def random(width: int, seed: int) -> Lpips:
    """The same layers, ``width`` wide and of random weights, all channels counting alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive_seed("aeroblade", seed))
        return Lpips(vgg_layers(width), torch.full((2 * width,), 1 / (2 * width)))


def from_state_dict(tensors: dict[str, torch.Tensor]) -> Lpips:
    """The distance whose ``state_dict`` this is."""
    found = Lpips(vgg_layers(len(tensors["features.0.weight"])), tensors["weights"])
    found.load_state_dict(tensors)
    return found


def build_lpips(settings: AerobladeSettings, seed: int) -> Lpips:
    """The distance that the settings ask for."""
    if settings.vgg is None or settings.linear is None:
        return random(settings.width, seed)
    return from_pretrained(Path(settings.vgg), Path(settings.linear))


# From a manifest to how well the autoencoders give each image back.


class ReconstructionScorer:
    """Measures images, each once in a view, wherever it stands."""

    def __init__(self, distance: Lpips, size: int, folders: Sequence[Path], seed: int) -> None:
        device = choose_device(device_name())
        self.vaes = [load(folder).to(device) for folder in folders]
        for vae in self.vaes:
            require_divisible(vae, size, "aeroblade.size")
        self.distance, self.seed = distance.to(device), seed
        self.how = Preprocess(size=size, resize="squash", interpolation="bilinear")
        self.batch = min(BATCH, max(PIXELS // size**2, 1))
        self._known: dict[tuple[str, str], tuple[float, str]] = {}

    def closeness(self, samples: Samples, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the closeness (N,) of every image, NaN where it cannot be read, and its status (N,)."""
        manifest = samples.table
        wanted = ViewSpec(view, self.how)
        paths = dict(zip(manifest["sha256"], manifest["path"], strict=True))
        todo = [ReadRequest(0, path, key, (wanted,)) for key, path in paths.items() if (view, key) not in self._known]
        read = Reader(samples.root, self.seed, samples.pixels).samples(todo, num_workers(), 4 * self.batch)
        bar = tqdm(read, total=len(todo), unit="image", desc=view, disable=None)
        for images in batches(bar, self.batch):
            good = [it for it in images if it.status == embeddings.OK]
            found = similarity(np.stack([it.squares[wanted] for it in good]), self.vaes, self.distance) if good else ()
            self._known |= {(view, it.sha256): (np.nan, str(it.status)) for it in images}
            self._known |= {(view, it.sha256): (float(v), embeddings.OK) for it, v in zip(good, found, strict=True)}
        values, status = zip(*(self._known[view, key] for key in manifest["sha256"]), strict=True)
        return np.array(values), np.array(status, dtype=object)


@torch.inference_mode()
def similarity(images: np.ndarray, vaes: Sequence[Any], distance: Lpips) -> np.ndarray:
    """The largest negated distance over the autoencoders (N,) of images (N, S, S, 3) uint8."""
    device = distance.weights.device
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    copies = (torch.from_numpy(reconstruct(vae, images)).to(device).permute(0, 3, 1, 2) for vae in vaes)
    return torch.stack([-distance(pixels, copy) for copy in copies]).amax(dim=0).cpu().numpy()


# The detector: P(generated) by Platt's sigmoid on validation's closeness.

FILE = "distance.safetensors"


class Aeroblade(ImageDetector):
    """Nothing is trained but the two numbers of a sigmoid; its slope is not negative: what comes back is generated."""

    Settings = AerobladeSettings

    learns_from = ("val",)

    def __init__(self, slope: float, offset: float, distance: Lpips, size: int, vaes: Sequence[Path] = ()) -> None:
        self.slope, self.offset, self.distance = slope, offset, distance
        self.size, self.vaes = size, list(vaes)  # px; the autoencoders' folders
        self._measure: ReconstructionScorer | None = None

    @classmethod
    def fit(cls, settings: AerobladeSettings, train: Samples, val: Samples, seed: int, *, vae: Path) -> Self:
        """Return the detector calibrated on val, by the pipeline's own autoencoder and those of the settings."""
        vaes = [folder_of(folder) for folder in (vae, *map(Path, settings.autoencoders))]
        measure = ReconstructionScorer(build_lpips(settings, seed), settings.size, vaes, seed)
        values, _ = measure.closeness(val, "clean")
        fitted = cls.calibrate(values, val.table["label"].to_numpy(), measure.distance, settings.size, vaes)
        fitted._measure = measure
        return fitted

    @classmethod
    def calibrate(
        cls, found: np.ndarray, labels: np.ndarray, distance: Lpips, size: int, vaes: Sequence[Path] = ()
    ) -> Self:
        """From the closeness (N,) of validation images by a distance, and labels (N,); NaN is left out."""
        good = ~np.isnan(found)
        if len(set(labels[good].tolist())) < 2:
            raise InputError("aeroblade: split val: reals and generated images are both needed to calibrate")
        slopes, offsets = fit_platt(found[good][:, None], 1 - labels[good], 2)
        return cls(float(slopes[0]), float(offsets[0]), distance, size, vaes)

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return P(generated) of images, each measured once in a view."""
        if self._measure is None or self._measure.seed != samples.seed:
            self._measure = ReconstructionScorer(self.distance, self.size, self.vaes, samples.seed)
        values, status = {}, None
        for view in views:
            closeness, status = self._measure.closeness(samples, view)
            values[view] = self.p_generated(closeness)
        return Scores(status, values)

    def p_generated(self, found: np.ndarray) -> np.ndarray:
        """Closeness (N,) to P(generated) (N,) float64."""
        return expit(self.slope * found + self.offset)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``distance.safetensors``, and a copy of each autoencoder."""
        for number, vae in enumerate(self.vaes):
            shutil.copytree(vae, folder / f"autoencoder{number}", copy_function=shutil.copyfile)
        save_file({name: value.cpu() for name, value in self.distance.state_dict().items()}, folder / FILE)
        return {"slope": self.slope, "offset": self.offset, "size": self.size}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote and gave."""
        vaes = sorted(path for path in folder.iterdir() if path.is_dir())
        return cls(facts["slope"], facts["offset"], from_state_dict(load_file(folder / FILE)), facts["size"], vaes)


Detector = Aeroblade
