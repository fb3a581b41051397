"""The fitted network, which says of an image which generator made it, if any."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import nn

from aigid.core import embeddings, seeding
from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.detectors.bundle import Bundle
from aigid.detectors.cnn.data import ChannelDataset
from aigid.detectors.cnn.data import ChannelView as Channels
from aigid.detectors.cnn.model import build_model
from aigid.detectors.cnn.settings import CnnSettings
from aigid.detectors.cnn.training import LOG_COLUMNS, predict, train
from aigid.detectors.protocol import ImageDetector, Scores
from aigid.detectors.samples import Samples, class_names, encode_labels, without_train
from aigid.detectors.scoring import class_scores_frame
from aigid.training import distributed, loop

REVISION = 1  # of the training's result; raise it when equal settings give other weights than before


class Cnn(ImageDetector):
    """Logits over ``classes``, of which the first is ``real``."""

    Settings = CnnSettings

    def __init__(self, net: nn.Module, settings: CnnSettings, classes: list[str], vae: Path | None = None) -> None:
        self.net, self.settings, self.classes, self.vae = net, settings, classes, vae  # the VAE's folder

    @classmethod
    def fit(cls, settings: CnnSettings, train: Samples, val: Samples, seed: int, *, vae: Path) -> Self:
        """Return the network of the epoch with the best validation macro-F1; under ``torchrun``, in each process."""
        source = ChannelDataset(settings, vae, train.root, seed)
        with distributed.process_group():
            fitted, log = cls.train(settings, source, pd.concat([train.table, val.table]), seed)
        fitted.vae, fitted.logs = vae, {"epochs": log}
        return fitted

    @classmethod
    def train(
        cls, settings: CnnSettings, source: ChannelDataset, manifest: pd.DataFrame, seed: int
    ) -> tuple[Self, pd.DataFrame]:
        """Return the network of the epoch with the best validation macro-F1, and the log of its epochs.

        Within `aigid.training.distributed.process_group`, each gets both.
        """
        splits = {name: manifest[manifest["split"] == name] for name in ("train", "val")}
        named = {name: generator_names(part, settings) for name, part in splits.items()}
        classes = class_names(named["train"], "train")
        y = {name: encode_labels(names, classes, name) for name, names in named.items()}
        parts = [_samples(source, splits["train"], y["train"], view) for view in settings.views]
        train_view, val = _concat(parts), _samples(source, splits["val"], y["val"], "clean")
        with torch.random.fork_rng():
            torch.manual_seed(seeding.derive_seed("cnn", seed))
            net = build_model(settings, len(classes)).to(choose_device(device_name()))
            log = train(net, settings, train_view, val, seed, _checkpoint(settings, train_view, val, seed))
        return cls(net.eval(), settings, classes), pd.DataFrame(log, columns=LOG_COLUMNS).astype({"epoch": int})

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return class probabilities, by the VAE that it was trained with."""
        source, values, status = self._source(samples), {}, None
        for view in views:
            status, values[view] = scored(self, source, samples.table, view)
        return Scores(status, values)

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return those of the channels."""
        return self._source(samples).fingerprints

    def _source(self, samples: Samples) -> ChannelDataset:
        return ChannelDataset(self.settings, self.vae, samples.root, samples.seed, samples.pixels, samples.cache_root)

    def probabilities(self, samples: Channels) -> np.ndarray:
        """(N, K) float64."""
        logits = predict(self.net, samples, np.arange(len(samples)), self.settings.hflip_tta)
        return softmax(logits.astype(np.float64), axis=2).mean(axis=0)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors``, and a copy of the VAE."""
        if self.vae is not None:
            shutil.copytree(self.vae, folder / "vae", copy_function=shutil.copyfile)
        state = {name: value.contiguous().cpu() for name, value in self.net.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        return {"classes": self.classes, "settings": self.settings.model_dump(mode="json")}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return the detector that ``save`` wrote."""
        settings = CnnSettings(**state["settings"])
        net = build_model(settings.model_copy(update={"pretrained": False}), len(state["classes"]))
        net.load_state_dict(load_file(folder / "weights.safetensors"))
        return cls(net.to(choose_device(device_name())).eval(), settings, state["classes"], folder / "vae")


Detector = Cnn


def scored(detector: Cnn, source: ChannelDataset, rows: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the status (N,) of images and their probabilities (N, K), NaN where an image cannot be read."""
    samples, status = source.samples(rows, np.zeros(len(rows), np.int64), view)
    values = np.full((len(rows), len(detector.classes)), np.nan)
    if len(samples):
        values[status == embeddings.OK] = detector.probabilities(samples)
    return status, values


def generator_names(manifest: pd.DataFrame, settings: CnnSettings) -> np.ndarray:
    """Return what each image (N,) is by the network's task: its generator, or whether it is generated."""
    if settings.task == "binary":
        return np.where(manifest["label"] == 1, "generated", "real")
    return manifest["generator"].to_numpy(str)


def _samples(source: ChannelDataset, rows: pd.DataFrame, y: np.ndarray, view: str) -> Channels:
    """Return the readable rows; of the channels that the cache lacks, each process computes its part."""
    if distributed.world_size() > 1:
        mine = slice(distributed.rank(), None, distributed.world_size())
        source.samples(rows.iloc[mine], y[mine], view)
        distributed.barrier()
    return source.samples(rows, y, view)[0]


def _concat(parts: list[Channels]) -> Channels:
    """Return the samples of several views as one; a key stands for an image in a view."""
    if len(parts) == 1:
        return parts[0]
    keys = [f"{number} {key}" for number, part in enumerate(parts) for key in part.keys]
    pictures = [
        {f"{number} {key}": part.pictures[channel][key] for number, part in enumerate(parts) for key in part.keys}
        for channel in range(len(parts[0].pictures))
    ]
    return Channels(keys, np.concatenate([part.y for part in parts]), pictures)


def _checkpoint(settings: CnnSettings, train_view: Channels, val: Channels, seed: int) -> Path:
    metadata = [REVISION, settings.model_dump(mode="json"), seed]
    return loop.checkpoint_path(metadata + [[samples.keys, samples.y.tolist()] for samples in (train_view, val)])


# Score images by a network whose channels come from a given source, as of another VAE or other settings.


def score(model: Bundle, source: ChannelDataset, manifest: pd.DataFrame, views: Sequence[str]) -> pd.DataFrame:
    """Return one row for each val and test image and view; an unreadable image has a status and no score."""
    if source.fingerprints != model.fingerprints:
        raise InputError(f"{model.name}: trained on the channels of another VAE, size or settings than these")
    rows, parts = without_train(manifest), []
    for view in views:
        status, values = scored(model.detector, source, rows, view)
        parts.append(class_scores_frame(rows, view, values, model.detector.classes, status))
    return pd.concat(parts, ignore_index=True)
