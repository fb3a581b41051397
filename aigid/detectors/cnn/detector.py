"""The fitted network, which says of an image which generator made it, if any."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import nn

from aigid.base import seeding
from aigid.base.files import device_name
from aigid.detectors.base.rows import class_names, class_numbers
from aigid.detectors.cnn.network import build
from aigid.detectors.cnn.samples import Samples, Source
from aigid.detectors.cnn.settings import CnnSettings
from aigid.detectors.cnn.training import LOG, predict, train
from aigid.detectors.training import finetuning, parallel
from aigid.device import choose_device

REVISION = 1  # of the training's result; raise it when equal settings give other weights than before


class Cnn:
    """Logits over ``classes``, of which the first is ``real``."""

    Settings = CnnSettings

    def __init__(self, net: nn.Module, settings: CnnSettings, classes: list[str]) -> None:
        self.net, self.settings, self.classes = net, settings, classes

    @classmethod
    def fit(cls, settings: CnnSettings, source: Source, manifest: pd.DataFrame, seed: int) -> tuple[Self, pd.DataFrame]:
        """The network of the epoch with the best validation macro-F1, and the log of its epochs.

        Within `aigid.detectors.training.parallel.processes`, each gets both.
        """
        splits = {name: manifest[manifest["split"] == name] for name in ("train", "val")}
        named = {name: names_of(part, settings) for name, part in splits.items()}
        classes = class_names(named["train"], "train")
        y = {name: class_numbers(names, classes, name) for name, names in named.items()}
        parts = [_samples(source, splits["train"], y["train"], view) for view in settings.views]
        lessons, val = _joined(parts), _samples(source, splits["val"], y["val"], "clean")
        with torch.random.fork_rng():
            torch.manual_seed(seeding.seed_of("cnn", seed))
            net = build(settings, len(classes)).to(choose_device(device_name()))
            log = train(net, settings, lessons, val, seed, _checkpoint(settings, lessons, val, seed))
        return cls(net.eval(), settings, classes), pd.DataFrame(log, columns=LOG).astype({"epoch": int})

    def probabilities(self, samples: Samples) -> np.ndarray:
        """(N, K) float64."""
        logits = predict(self.net, samples, np.arange(len(samples)), self.settings.hflip_tta)
        return softmax(logits.astype(np.float64), axis=2).mean(axis=0)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors``."""
        state = {name: value.contiguous().cpu() for name, value in self.net.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        return {"classes": self.classes, "settings": self.settings.model_dump(mode="json")}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        settings = CnnSettings(**facts["settings"])
        net = build(settings.model_copy(update={"pretrained": False}), len(facts["classes"]))
        net.load_state_dict(load_file(folder / "weights.safetensors"))
        return cls(net.to(choose_device(device_name())).eval(), settings, facts["classes"])


Detector = Cnn


def names_of(manifest: pd.DataFrame, settings: CnnSettings) -> np.ndarray:
    """What each image (N,) is by the network's task: its generator, or whether it is generated."""
    if settings.task == "binary":
        return np.where(manifest["label"] == 1, "generated", "real")
    return manifest["generator"].to_numpy(str)


def _samples(source: Source, rows: pd.DataFrame, y: np.ndarray, view: str) -> Samples:
    """The readable rows; of the channels that the cache lacks, each process makes its part."""
    if parallel.world() > 1:
        mine = slice(parallel.rank(), None, parallel.world())
        source.samples(rows.iloc[mine], y[mine], view)
        parallel.wait()
    return source.samples(rows, y, view)[0]


def _joined(parts: list[Samples]) -> Samples:
    """The samples of several views as one; a key stands for an image in a view."""
    if len(parts) == 1:
        return parts[0]
    keys = [f"{number} {key}" for number, part in enumerate(parts) for key in part.keys]
    pictures = [
        {f"{number} {key}": part.pictures[channel][key] for number, part in enumerate(parts) for key in part.keys}
        for channel in range(len(parts[0].pictures))
    ]
    return Samples(keys, np.concatenate([part.y for part in parts]), pictures)


def _checkpoint(settings: CnnSettings, lessons: Samples, val: Samples, seed: int) -> Path:
    about = [REVISION, settings.model_dump(mode="json"), seed]
    return finetuning.checkpoint(about + [[samples.keys, samples.y.tolist()] for samples in (lessons, val)])
