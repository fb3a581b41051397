"""GenDet as a detector."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.detectors import bundle
from aigid.detectors.gendet.model import GenDetModel
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.gendet.training import fit_student, train_teacher
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, require_both_classes, require_finite
from aigid.training.tabular import batched

FILE = "weights.safetensors"


class GenDet(EmbeddingDetector):
    """P(generated) from the discrepancy of a teacher and a student on one embedding.

    A teacher alone is a GenDet too, of mode ``teacher``: its head gives the score. ``logs`` are those of ``teacher``,
    or of ``rotations`` and ``classifier``, a row an epoch, and ``readouts``.
    """

    Settings = GenDetSettings

    def __init__(
        self, network: GenDetModel, state: dict[str, Any], logs: dict[str, pd.DataFrame] | None = None
    ) -> None:
        self.network, self.state = network.requires_grad_(False), state
        self.logs = logs or {}

    @classmethod
    def fit_teacher(
        cls, settings: TeacherSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int
    ) -> Self:
        """Return the frozen teacher of any number of students."""
        _check(train, val)
        network, log = train_teacher(train, val, settings, seed, choose_device(device_name()))
        state = {"dim": train.x.shape[1], "mode": "teacher", "shape": settings.model_dump(), "normalized": False}
        return cls(network, state, {"teacher": log})

    @classmethod
    def fit(
        cls,
        settings: GenDetSettings,
        train: LabeledEmbeddings,
        val: LabeledEmbeddings,
        seed: int,
        teacher: "GenDet | Path | None" = None,
    ) -> Self:
        """Train student and classifier for ``teacher`` or that of a folder; without one it is trained first."""
        _check(train, val)
        if isinstance(teacher, Path):
            model, teacher = bundle.load_kind(teacher, GenDet)
            if train.origin:
                bundle.require_same_backbone(model, train.origin)
        if teacher is None:
            teacher = cls.fit_teacher(settings.teacher, train, val, seed)
        _check_compatible(teacher, settings, train)
        if settings.mode == "teacher":
            return cls(teacher.network, teacher.state)
        network, logs = fit_student(teacher.network, train, val, settings, seed)
        changed = {"mode": settings.mode, "normalized": settings.normalize_discrepancy}
        return cls(network, teacher.state | changed, logs)

    def p_generated(self, embeddings: Floats) -> Floats:
        x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(self.network.mean.device)
        return batched(self.network, x).cpu().numpy().astype(np.float64)

    def save(self, folder: Path) -> dict[str, Any]:
        state = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        save_file(state, folder / FILE)
        return self.state

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        shape = TeacherSettings.model_validate(state["shape"])
        network = GenDetModel(state["dim"], shape, state["mode"] == "teacher", state["normalized"])
        network.load_state_dict(load_file(folder / FILE))
        return cls(network.to(choose_device(device_name())), state)


Detector = GenDet


def _check(train: LabeledEmbeddings, val: LabeledEmbeddings) -> None:
    require_both_classes(train, "train")
    require_finite(train, "train")
    require_finite(val, "val")


def _check_compatible(teacher: GenDet, settings: GenDetSettings, train: LabeledEmbeddings) -> None:
    """Raise InputError where the teacher is of other embeddings or of another shape than the settings say."""
    if teacher.state["dim"] != train.x.shape[1]:
        raise InputError(f"the teacher takes embeddings of {teacher.state['dim']} numbers, not {train.x.shape[1]}")
    if (actual := teacher.state["shape"]) != (expected := settings.teacher.model_dump()):
        key = next(key for key in expected if actual.get(key) != expected[key])
        values = f"{expected[key]!r}, but the teacher was trained with {actual.get(key)!r}"
        raise InputError(f"gendet.teacher.{key}={values}")
