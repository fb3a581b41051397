"""What is done to embeddings before the kernel sees them."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field
from safetensors.numpy import load_file, save_file
from sklearn.feature_selection import f_classif
from sklearn.metrics import f1_score

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import LabeledEmbeddings, class_names, encode_labels, mean_and_std
from aigid.detectors.svm.kernel import (
    KernelMachine,
    fit_platt,
    nystroem,
    pairwise_coupling,
    platt_probabilities,
    predict,
    support_vectors,
)

Scaling = Literal["unit", "standard", "whitened"]  # rows of length 1; columns of deviation 1; and uncorrelated ones
MIN_STD = 0.1  # added to the variance of each principal axis of standardised columns, whose mean is 1


def fit_scaler(x: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    """The arrays that ``scale`` wants, from training rows (N, D).

    Whitened columns are principal axes, each divided by sqrt(variance + FLOOR): a kernel of random towers' embeddings,
    almost all of whose variance lies in a few axes, sees the others too.
    """
    if scaling == "unit":
        return {}
    mean, std = mean_and_std(x)
    arrays = {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}
    if scaling == "whitened":
        rows = (x - mean) / std
        variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
        arrays["axes"] = (axes / np.sqrt(variances + MIN_STD)).astype(np.float32)
    return arrays


def transform(x: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(N, D) to (N, D) float32."""
    if "mean" not in arrays:
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    x = (x - arrays["mean"]) / arrays["std"]
    return x @ arrays["axes"] if "axes" in arrays else x


# Which features the machine sees: the best by F-test, and of those a greedy choice scored on validation.


def select_k_best(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` columns with the highest ANOVA F, in their order (``SelectKBest(f_classif, k)``)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.nan_to_num(f_classif(x, y)[0], nan=-1.0)
    return np.sort(np.argsort(f, kind="stable")[::-1][:k])


def forward_selection(columns: np.ndarray, score: Callable[[np.ndarray], float], most: int) -> np.ndarray:
    """Start from nothing, add the column whose company scores best, stop at ``most`` or where none improves."""
    chosen: list[int] = []
    best = -np.inf
    while len(chosen) < min(most, len(columns)):
        scores = {int(c): score(np.array(sorted([*chosen, c]))) for c in columns if c not in chosen}
        column = max(scores, key=scores.__getitem__)
        if scores[column] <= best:
            break
        best = scores[column]
        chosen.append(column)
    return np.array(sorted(chosen))


# The detector: a kernel machine on normalised embeddings that names the generator.

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

    def __init__(self, machine: KernelMachine, arrays: dict[str, np.ndarray], classes: list[str], facts: dict) -> None:
        self.machine, self.arrays, self.classes, self.facts = machine, arrays, classes, facts

    @classmethod
    def fit(cls, settings: SvmSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Fit every cell of the grid on a sample of train; val chooses among them and calibrates."""
        classes = class_names(train.generators, "train")
        y, held = (encode_labels(rows.generators, classes, of) for rows, of in ((train, "train"), (val, "val")))
        arrays = fit_scaler(train.x, settings.scaling)
        rows = np.arange(len(y)) if settings.solver == "nystroem" else subsample(y, settings.max_images, seed)
        x, y, outside = transform(train.x[rows], arrays), y[rows], transform(val.x, arrays)
        arrays["columns"] = _select_columns(settings, x, y, outside, held, seed)
        x, outside = x[:, arrays["columns"]], outside[:, arrays["columns"]]
        strengths = settings.ridge if settings.solver == "nystroem" else settings.c
        cells = list(product(strengths, settings.gamma))
        fits, best, decisions = {}, None, None
        for cell in cells:
            machine = _fit_machine(settings, x, y, *cell, seed)
            found = machine.decide(outside)
            fits[cell] = _f1(held, predict(found, len(classes)))
            if best is None or fits[cell] > max(list(fits.values())[:-1]):
                best, decisions, chosen = machine, found, cell
        arrays["slopes"], arrays["offsets"] = fit_platt(decisions, held, len(classes))
        facts = {"strength": chosen[0], "gamma": chosen[1], "num_train": len(y), "num_centres": len(best.centres)}
        facts |= {"val_f1_macro": {f"{strength}, {gamma}": f1 for (strength, gamma), f1 in fits.items()}}
        return cls(best, arrays, classes, facts)

    def decide(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to the decisions (N, P) of all pairs."""
        return self.machine.decide(transform(embeddings, self.arrays)[:, self.arrays["columns"]])

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to the names (N,) of the classes with most votes."""
        return np.array(self.classes)[predict(self.decide(embeddings), len(self.classes))]

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64."""
        pairwise = platt_probabilities(self.decide(embeddings), self.arrays["slopes"], self.arrays["offsets"])
        return pairwise_coupling(pairwise, len(self.classes))

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        return 1 - self.predict_proba(embeddings)[:, 0]

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
        return cls(KernelMachine(*own, facts["gamma"], len(classes)), arrays, classes, facts)


Detector = KernelSvm


FILE = "arrays.safetensors"


def subsample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most ``most`` places, every class with its share and at least one, in order."""
    if len(y) <= most:
        return np.arange(len(y))
    order = seeding.numpy_generator("svm sample", seed).permutation(len(y))
    parts = [order[y[order] == k] for k in np.unique(y)]
    return np.sort(np.concatenate([part[: max(most * len(part) // len(y), 1)] for part in parts]))


def _fit_machine(
    s: SvmSettings, x: np.ndarray, y: np.ndarray, strength: float, gamma: float, seed: int
) -> KernelMachine:
    if s.solver == "nystroem":
        return nystroem(x, y, strength, gamma, s.landmarks, seed)
    return support_vectors(x, y, strength, gamma, s.solver == "intelex")


def _select_columns(
    s: SvmSettings, x: np.ndarray, y: np.ndarray, outside: np.ndarray, held: np.ndarray, seed: int
) -> np.ndarray:
    """The features that are kept, by their places."""
    if s.features == "all":
        return np.arange(x.shape[1])
    if s.k > x.shape[1]:
        raise InputError(f"svm.k={s.k}: the embeddings have {x.shape[1]} columns")
    best = select_k_best(x, y, s.k)
    if s.features == "k_best":
        return best
    rows, others = subsample(y, s.selection_sample, seed), subsample(held, s.selection_sample, seed)

    def score(columns: np.ndarray) -> float:
        machine = _fit_machine(
            s, x[rows][:, columns], y[rows], (s.ridge if s.solver == "nystroem" else s.c)[0], s.gamma[0], seed
        )
        return _f1(held[others], machine.vote(outside[others][:, columns]))

    return forward_selection(best, score, s.k)


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(truth, predicted, average="macro"))
