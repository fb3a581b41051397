"""The detector: a kernel machine on normalised embeddings that names the generator."""

from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field
from safetensors.numpy import load_file, save_file
from sklearn.metrics import f1_score

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.base.params import Settings
from aigid.detectors.base.protocol import EmbeddingDetector
from aigid.detectors.base.rows import Rows, class_names, class_numbers
from aigid.detectors.svm.fitting import nystroem, platt, support_vectors
from aigid.detectors.svm.machine import Machine, couple, sigmoids, vote
from aigid.detectors.svm.scaling import Scaling, learn_scaling, scale
from aigid.detectors.svm.selection import forward, k_best

Positive = Annotated[float, Field(gt=0)]
Grid = Annotated[
    tuple[Positive, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
]


class SvmSettings(Settings):
    """The published code's values are the defaults; of a grid the cell with the best validation macro-F1 is taken."""

    backbone: str
    dataset: str
    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("clean",)  # of the images of train and val
    solver: Literal["libsvm", "intelex", "nystroem"] = "libsvm"
    scaling: Scaling = "unit"
    c: Grid = (10.0,)
    gamma: Grid = (1.0,)
    ridge: Grid = (1e-6,)  # nystroem's, in place of c
    landmarks: Annotated[int, Field(ge=1)] = 2000  # nystroem's
    max_images: Annotated[int, Field(ge=1)] = 20_000  # training rows taken, every class its share; not for nystroem
    features: Literal["all", "k_best", "k_best_forward"] = "all"
    k: Annotated[int, Field(ge=1)] = 50
    selection_sample: Annotated[int, Field(ge=1)] = 2000  # rows of train and of val for the greedy choice


class KernelSvm(EmbeddingDetector):
    """Votes of all pairs of classes; probabilities by Platt's sigmoids on validation, coupled."""

    Settings = SvmSettings

    def __init__(self, machine: Machine, arrays: dict[str, np.ndarray], classes: list[str], facts: dict) -> None:
        self.machine, self.arrays, self.classes, self.facts = machine, arrays, classes, facts

    @classmethod
    def fit(cls, settings: SvmSettings, train: Rows, val: Rows, seed: int) -> Self:
        """Fit every cell of the grid on a sample of train; val chooses among them and calibrates."""
        classes = class_names(train.generators, "train")
        y, held = (class_numbers(rows.generators, classes, of) for rows, of in ((train, "train"), (val, "val")))
        arrays = learn_scaling(train.x, settings.scaling)
        rows = np.arange(len(y)) if settings.solver == "nystroem" else sample(y, settings.max_images, seed)
        x, y, outside = scale(train.x[rows], arrays), y[rows], scale(val.x, arrays)
        arrays["columns"] = _columns(settings, x, y, outside, held, seed)
        x, outside = x[:, arrays["columns"]], outside[:, arrays["columns"]]
        strengths = settings.ridge if settings.solver == "nystroem" else settings.c
        cells = list(product(strengths, settings.gamma))
        fits, best, decisions = {}, None, None
        for cell in cells:
            machine = _machine(settings, x, y, *cell, seed)
            found = machine.decide(outside)
            fits[cell] = _f1(held, vote(found, len(classes)))
            if best is None or fits[cell] > max(list(fits.values())[:-1]):
                best, decisions, chosen = machine, found, cell
        arrays["slopes"], arrays["offsets"] = platt(decisions, held, len(classes))
        facts = {"strength": chosen[0], "gamma": chosen[1], "num_train": len(y), "num_centres": len(best.centres)}
        facts |= {"val_f1_macro": {f"{strength}, {gamma}": f1 for (strength, gamma), f1 in fits.items()}}
        return cls(best, arrays, classes, facts)

    def decide(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to the decisions (N, P) of all pairs."""
        return self.machine.decide(scale(embeddings, self.arrays)[:, self.arrays["columns"]])

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to the names (N,) of the classes with most votes."""
        return np.array(self.classes)[vote(self.decide(embeddings), len(self.classes))]

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64."""
        pairwise = sigmoids(self.decide(embeddings), self.arrays["slopes"], self.arrays["offsets"])
        return couple(pairwise, len(self.classes))

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        return 1 - self.probabilities(embeddings)[:, 0]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``arrays.safetensors``."""
        m = self.machine
        own = {"centres": m.centres, "coefficients": m.coefficients, "intercepts": m.intercepts}
        save_file({name: np.ascontiguousarray(a) for name, a in (own | self.arrays).items()}, folder / FILE)
        return self.facts | {"classes": self.classes}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        arrays, facts = load_file(folder / FILE), dict(facts)
        own = [arrays.pop(name) for name in ("centres", "coefficients", "intercepts")]
        classes = facts.pop("classes")
        return cls(Machine(*own, facts["gamma"], len(classes)), arrays, classes, facts)


Detector = KernelSvm


FILE = "arrays.safetensors"


def sample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most ``most`` places, every class with its share and at least one, in order."""
    if len(y) <= most:
        return np.arange(len(y))
    order = seeding.generator("svm sample", seed).permutation(len(y))
    parts = [order[y[order] == k] for k in np.unique(y)]
    return np.sort(np.concatenate([part[: max(most * len(part) // len(y), 1)] for part in parts]))


def _machine(s: SvmSettings, x: np.ndarray, y: np.ndarray, strength: float, gamma: float, seed: int) -> Machine:
    if s.solver == "nystroem":
        return nystroem(x, y, strength, gamma, s.landmarks, seed)
    return support_vectors(x, y, strength, gamma, s.solver == "intelex")


def _columns(
    s: SvmSettings, x: np.ndarray, y: np.ndarray, outside: np.ndarray, held: np.ndarray, seed: int
) -> np.ndarray:
    """The features that are kept, by their places."""
    if s.features == "all":
        return np.arange(x.shape[1])
    if s.k > x.shape[1]:
        raise InputError(f"svm.k={s.k}: the embeddings have {x.shape[1]} columns")
    best = k_best(x, y, s.k)
    if s.features == "k_best":
        return best
    rows, others = sample(y, s.selection_sample, seed), sample(held, s.selection_sample, seed)

    def score(columns: np.ndarray) -> float:
        machine = _machine(
            s, x[rows][:, columns], y[rows], (s.ridge if s.solver == "nystroem" else s.c)[0], s.gamma[0], seed
        )
        return _f1(held[others], machine.vote(outside[others][:, columns]))

    return forward(best, score, s.k)


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(truth, predicted, average="macro"))
