"""GenDet as a detector; torch is imported once the settings are known to be good."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from aigid.base.errors import InputError
from aigid.base.files import device_name
from aigid.detectors.base import models
from aigid.detectors.base.protocol import EmbeddingDetector
from aigid.detectors.base.rows import Rows, require_both_classes, require_finite
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.training_log import Logs

if TYPE_CHECKING:
    from aigid.detectors.gendet.network import Network


class GenDet(EmbeddingDetector):
    """P(generated) from the discrepancy of a teacher and a student on one embedding.

    A teacher alone is a GenDet too, of mode ``teacher``: its own head gives the score.
    """

    Settings = GenDetSettings

    def __init__(self, network: "Network", facts: dict[str, Any], logs: Logs | None = None) -> None:
        self.network, self.facts = network.requires_grad_(False), facts
        self.logs = logs or {}  # of ``teacher``, or of ``rotations`` and ``classifier``, one line an epoch

    @classmethod
    def fit_teacher(cls, settings: TeacherSettings, train: Rows, val: Rows, seed: int) -> Self:
        """The frozen teacher that any number of students can be held against."""
        _check(train, val)
        from aigid.detectors.gendet.training import train_teacher
        from aigid.device import choose_device

        network, log = train_teacher(train, val, settings, seed, choose_device(device_name()))
        facts = {"dim": train.x.shape[1], "mode": "teacher", "shape": settings.model_dump(), "normalized": False}
        return cls(network, facts, {"teacher": log})

    @classmethod
    def fit(
        cls, settings: GenDetSettings, train: Rows, val: Rows, seed: int, teacher: Self | Path | None = None
    ) -> Self:
        """Rotations and classifier behind ``teacher`` or that of a folder, which is trained first if none is given."""
        _check(train, val)
        if isinstance(teacher, Path):
            model = models.load(teacher)
            models.require_same_backbone(model, train)
            teacher = model.detector
        if teacher is None:
            teacher = cls.fit_teacher(settings.teacher, train, val, seed)
        _fits(teacher, settings, train)
        if settings.mode == "teacher":
            return cls(teacher.network, teacher.facts)
        from aigid.detectors.gendet.training import fit_student

        network, logs = fit_student(teacher.network, train, val, settings, seed)
        changed = {"mode": settings.mode, "normalized": settings.normalize_discrepancy}
        return cls(network, teacher.facts | changed, logs)

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        import torch

        from aigid.detectors.gendet.training import in_blocks

        x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(self.network.mean.device)
        return in_blocks(self.network, x).cpu().numpy().astype(np.float64)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors``."""
        weights = {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        return self.facts

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        import torch

        from aigid.detectors.gendet.network import Network
        from aigid.device import choose_device

        shape = TeacherSettings.model_validate(facts["shape"])
        network = Network(facts["dim"], shape, facts["mode"] == "teacher", facts["normalized"])
        arrays = load_file(folder / "weights.safetensors")
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(network.to(choose_device(device_name())), facts)


Detector = GenDet


def _check(train: Rows, val: Rows) -> None:
    require_both_classes(train, "train")
    require_finite(train, "train")
    require_finite(val, "val")


def _fits(teacher: GenDet, settings: GenDetSettings, train: Rows) -> None:
    """InputError where the teacher is of other embeddings or of another shape than the settings say."""
    if teacher.facts["dim"] != train.x.shape[1]:
        raise InputError(f"the teacher takes embeddings of {teacher.facts['dim']} numbers, not {train.x.shape[1]}")
    if (had := teacher.facts["shape"]) != (wanted := settings.teacher.model_dump()):
        key = next(key for key in wanted if had.get(key) != wanted[key])
        raise InputError(f"gendet.teacher.{key}={wanted[key]!r}, but the teacher was trained with {had.get(key)!r}")
