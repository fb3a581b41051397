"""The fitted network, which says of an image which generator made it, if any."""

import copy
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import nn

from aigid.core import embeddings, seeding
from aigid.core.cache import checkpoint_path
from aigid.core.files import choose_device, device_name
from aigid.core.texts import batches
from aigid.detectors.cnn.data import ChannelDataset, ChannelView
from aigid.detectors.cnn.settings import CnnSettings
from aigid.detectors.cnn.training import EVAL_BATCH, LOG_COLUMNS, build_model, plan, predict, train
from aigid.detectors.protocol import BaseDetector, Scores
from aigid.detectors.samples import Floats, Ints, Samples, class_names, encode_labels
from aigid.features.backbones import backbone_settings
from aigid.features.reader import DecodedImage
from aigid.training import distributed
from aigid.training.task import TrainConfig

REVISION = 2  # of the training's result; raise it when equal settings give other weights than before


class Cnn(BaseDetector):
    """Logits over ``classes``, of which the first is ``real``; ``vae`` is the VAE's folder."""

    Settings = CnnSettings

    def __init__(self, net: nn.Module, settings: CnnSettings, classes: list[str], vae: Path) -> None:
        self.net, self.settings, self.classes, self.vae = net, settings, classes, vae

    @classmethod
    def plan(cls, settings: CnnSettings, table: pd.DataFrame, seed: int) -> TrainConfig:
        """Return the length of the training, were all images readable."""
        with torch.device("meta"):
            net = build_model(settings.model_copy(update={"pretrained": False}), 1)
        return plan(settings, net, len(table) * (len(settings.views) if settings.view_sampling == "all" else 1), seed)

    @classmethod
    def fit(cls, settings: CnnSettings, train: Samples, val: Samples, seed: int, *, vae: Path) -> Self:
        """Return the network of the epoch with the best validation macro-F1; under ``torchrun``, in each process."""
        with distributed.process_group():
            return cls._fit(settings, train, val, seed, vae)

    @classmethod
    def _fit(cls, settings: CnnSettings, train_images: Samples, val_images: Samples, seed: int, vae: Path) -> Self:
        source = ChannelDataset(settings, vae, train_images.root, seed)
        names = generator_names(train_images.table, settings)
        classes = class_names(names, "train")
        y = encode_labels(names, classes, "train")
        y_val = encode_labels(generator_names(val_images.table, settings), classes, "val")
        sampled_epochs = settings.epochs if settings.view_sampling == "random" else 0
        train_view = _samples(source, train_images.table, y, settings.views, sampled_epochs)
        val = _samples(source, val_images.table, y_val)
        with torch.random.fork_rng():
            torch.manual_seed(seeding.derive_seed("cnn", seed))
            net = build_model(settings, len(classes)).to(choose_device(device_name()))
            log = train(net, settings, train_view, val, seed, _checkpoint(settings, train_view, val, seed))
        fitted = cls(net.eval(), settings, classes, vae)
        fitted.logs = {"epochs": pd.DataFrame(log, columns=LOG_COLUMNS).astype({"epoch": int})}
        return fitted

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return class probabilities, by the VAE that it was trained with."""
        source, table, values = self._source(samples), samples.table, {}
        if len(views) > 1 and "clean_side_channels" in self.settings.compat:
            source.view(table, np.zeros(len(table)))  # whose errors all views share
        status, messages = np.full(len(table), embeddings.OK, dtype=object), dict[int, str]()
        for view in views:
            values[view] = np.full((len(table), len(self.classes)), np.nan)
            for images in _batches(source, table, view):
                status[[image.index for image in images]] = [image.status for image in images]
                messages |= {image.index: image.message for image in images if image.message}
                if good := [image for image in images if image.status == embeddings.OK]:
                    pictures = source.channels(good, [view] * len(good))
                    values[view][[image.index for image in good]] = self.probabilities(pictures)
        return Scores(status, values, messages)

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return those of the channels."""
        return self._source(samples).fingerprints

    def _source(self, samples: Samples) -> ChannelDataset:
        return ChannelDataset(self.settings, self.vae, samples.root, samples.seed, samples.pixels, samples.cache_root)

    def probabilities(self, pictures: NDArray[np.uint8]) -> Floats:
        """Return class probabilities (N, K) float64 of channels (N, C, S, S)."""
        logits = predict(self.net, pictures, self.settings.hflip_tta).numpy()
        shares: Floats = softmax(logits.astype(np.float64), axis=2).mean(axis=0)
        return shares

    def features(self, samples: Samples, view: str) -> Floats:
        """Return what its last layer gets of the images in a view, (N, D) float32, NaN of an unreadable one."""
        source = self._source(samples)
        net: Any = copy.deepcopy(self.net)  # of timm
        net.reset_classifier(0)
        features: NDArray[np.float32] = np.full((len(samples.table), net.num_features), np.nan, np.float32)
        for images in _batches(source, samples.table, view):
            if good := [image for image in images if image.status == embeddings.OK]:
                outputs = predict(net, source.channels(good, [view] * len(good))).numpy()
                features[[image.index for image in good]] = outputs[0]
        return features

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the backbone whose weights it started from, if any."""
        name = self.settings.pretrained
        return [backbone_settings(name).model_dump(mode="json")] if isinstance(name, str) else []

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors``, and a copy of the VAE."""
        shutil.copytree(self.vae, folder / "vae", copy_function=shutil.copyfile)
        state = {name: value.contiguous().cpu() for name, value in self.net.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        return {"classes": self.classes, "settings": self.settings.model_dump(mode="json")}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        from aigid.generators.autoencoder_kl import check

        settings = CnnSettings(**state["settings"])
        net = build_model(settings.model_copy(update={"pretrained": False}), len(state["classes"]))
        net.load_state_dict(load_file(folder / "weights.safetensors"))
        check(folder / "vae")
        return cls(net.to(choose_device(device_name())).eval(), settings, state["classes"], folder / "vae")


Detector = Cnn


def _batches(source: ChannelDataset, table: pd.DataFrame, view: str) -> Iterator[list[DecodedImage]]:
    """Yield all images of a table in a view, some at a time; their ``index`` is the row."""
    rows = enumerate(zip(table["path"], table["sha256"], strict=True))
    requests = [source.request(path, key, view, number) for number, (path, key) in rows]
    return batches(source.read(requests, view), EVAL_BATCH)


def generator_names(manifest: pd.DataFrame, settings: CnnSettings) -> np.ndarray:
    """Return what each image (N,) is by the network's task: its generator, or whether it is generated."""
    if settings.task == "binary":
        return np.where(manifest["label"] == 1, "generated", "real")
    return manifest["generator"].to_numpy(str)


def _samples(
    source: ChannelDataset, rows: pd.DataFrame, y: Ints, views: Sequence[str] = ("clean",), sampled_epochs: int = 0
) -> ChannelView:
    """Return the readable rows; of the errors that the cache lacks, each process computes its part."""
    if distributed.world_size() > 1:
        mine = slice(distributed.rank(), None, distributed.world_size())
        source.view(rows.iloc[mine], y[mine], views, sampled_epochs)
        distributed.barrier()
    return source.view(rows, y, views, sampled_epochs)


def _checkpoint(settings: CnnSettings, train_view: ChannelView, val: ChannelView, seed: int) -> Path:
    metadata = [REVISION, settings.model_dump(mode="json"), seed]
    return checkpoint_path("cnn", metadata + [[samples.keys, samples.y.tolist()] for samples in (train_view, val)])
