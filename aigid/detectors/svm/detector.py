"""A kernel machine on normalized embeddings that names the generator, or tells fakes from photographs alone."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator
from safetensors.numpy import save_file

from aigid.core import seeding
from aigid.core.bundle_files import read_arrays
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.special import expit, fit_platt
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import (
    Floats,
    Ints,
    LabeledEmbeddings,
    class_names,
    encode_labels,
    require_both_classes,
    require_finite,
)
from aigid.detectors.svm.kernel import (
    KernelMachine,
    Scaling,
    fit_scaler,
    nystroem,
    pairwise_coupling,
    predict,
    rbf,
    support_vectors,
    transform,
)

FILE, MACHINE = "arrays.safetensors", ("centres", "coefficients", "intercepts")  # a contract: the arrays in the file
MAX_KERNEL_ROWS = 10_000  # of a kernel that is kept: 0.8 GB
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
AS_GRID = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))
Grid = Annotated[tuple[Positive, ...], Field(min_length=1), AS_GRID]
Cell = tuple[float, float | Literal["scale"]]  # strength, gamma
GammaGrid = Annotated[tuple[Positive | Literal["scale"], ...], Field(min_length=1), AS_GRID]


class SvmSettings(Settings):
    """The published code's values are the defaults; of a grid the cell with the best validation macro-F1 is taken."""

    backbone: str
    dataset: str
    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("clean",)  # of the images of train and val
    target: Literal["generator", "label"] = "generator"  # label: two classes, whatever the generators
    solver: Literal["libsvm", "intelex", "nystroem"] = "libsvm"
    scaling: Scaling = "unit"
    num_components: Count | None = None  # principal axes kept of standard or whitened columns; None keeps all
    c: Grid = (10.0,)
    gamma: GammaGrid = (1.0,)  # scale: 1 / (columns x variance), as scikit-learn's
    ridge: Grid = (1e-6,)  # nystroem's, in place of c
    landmarks: Count = 2000  # nystroem's
    max_images: Count = 20_000  # training rows taken, every class its share; not for nystroem
    features: Literal["all", "k_best", "k_best_forward"] = "all"
    k: Count = 50
    selection_sample: Count = 2000  # rows of train and of val for the greedy choice

    @property
    def strengths(self) -> tuple[float, ...]:
        """The solver's grid of regularization."""
        return self.ridge if self.solver == "nystroem" else self.c

    @model_validator(mode="after")
    def _components_of_scaled_columns(self) -> Self:
        if self.num_components is not None and self.scaling == "unit":
            raise ValueError(f"num_components={self.num_components}: wants scaling standard or whitened, not unit")
        return self


class KernelSvm(EmbeddingDetector):
    """The class with most votes of all pairs; probabilities by Platt's sigmoids on validation, coupled.

    With ``target: label`` it has no classes and gives P(generated).
    """

    Settings = SvmSettings

    def __init__(
        self, machine: KernelMachine, arrays: dict[str, NDArray[Any]], classes: list[str], state: dict[str, Any]
    ) -> None:
        self.machine, self.arrays, self.classes, self.state = machine, arrays, classes, state

    @classmethod
    def fit(cls, settings: SvmSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Fit every cell of the grid on a sample of train; val chooses among them and calibrates."""
        require_finite(train, "train")
        require_finite(val, "val")
        classes, y, y_val = _classes(settings, train, val)
        num_classes = int(y.max()) + 1
        arrays = fit_scaler(train.x, settings.scaling, settings.num_components)
        rows = np.arange(len(y)) if settings.solver == "nystroem" else subsample(y, settings, "max_images", seed)
        x, y, x_val = transform(train.x[rows], arrays), y[rows], transform(val.x, arrays)
        arrays["columns"] = columns = _select_columns(settings, x, y, x_val, y_val, seed)
        x, x_val = x[:, columns], x_val[:, columns]
        machines = fit_grid(settings, x, y, seed)
        decisions = {cell: machine.decision_function(x_val) for cell, machine in machines.items()}
        f1 = {cell: _f1_macro(y_val, predict(decisions[cell], num_classes)) for cell in machines}
        best = max(f1, key=f1.__getitem__)
        machine, values = machines[best], {f"{strength}, {gamma}": value for (strength, gamma), value in f1.items()}
        arrays["slopes"], arrays["offsets"] = fit_platt(decisions[best], y_val, num_classes)
        state = {"strength": best[0], "gamma": machine.gamma, "num_train": len(y), "num_centres": len(machine.centers)}
        return cls(machine, arrays, classes, state | {"val_f1_macro": values})

    def decision_function(self, embeddings: Floats) -> Floats:
        """Return the decisions (N, P) of all pairs of classes."""
        return self.machine.decision_function(transform(embeddings, self.arrays)[:, self.arrays["columns"]])

    def classify(self, embeddings: Floats) -> tuple[Floats, Ints]:
        """Return probabilities, which make the score, and scikit-learn's ``SVC.predict``: the vote decides."""
        decisions = self.decision_function(embeddings)
        pairwise = expit(decisions * self.arrays["slopes"] + self.arrays["offsets"])
        num_classes = self.machine.num_classes
        return pairwise_coupling(pairwise, num_classes), predict(decisions, num_classes)

    def predict_proba(self, embeddings: Floats) -> Floats:
        return self.classify(embeddings)[0]

    def save(self, folder: Path) -> dict[str, Any]:
        machine = self.machine.centers, self.machine.coefficients, self.machine.intercepts
        arrays = dict(zip(MACHINE, machine, strict=True)) | self.arrays
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / FILE)
        return self.state | {"classes": self.classes}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        state = dict(state)
        classes = state.pop("classes")
        num_classes = len(classes) or 2
        pairs = num_classes * (num_classes - 1) // 2
        shapes = f"centres(M,C) columns(C) coefficients(M,{pairs}) intercepts({pairs}) slopes({pairs}) offsets({pairs})"
        arrays = read_arrays(folder / FILE, shapes, "mean(D) std(D)", "axes(D,A)")
        width = arrays["axes"].shape[1] if "axes" in arrays else len(arrays.get("mean", ())) or np.inf
        if (columns := arrays["columns"]).dtype.kind not in "iu" or columns.min() < 0 or columns.max() >= width:
            raise InputError(f"{folder / FILE}: array 'columns' holds what is no column")
        centers, coefficients, intercepts = (arrays.pop(name) for name in MACHINE)
        machine = KernelMachine(centers, coefficients, intercepts, state["gamma"], num_classes)
        return cls(machine, arrays, classes, state)


Detector = KernelSvm


def _classes(settings: SvmSettings, train: LabeledEmbeddings, val: LabeledEmbeddings) -> tuple[list[str], Ints, Ints]:
    """Return the names of the classes, none of the two of ``target: label``, and those of train's and val's rows."""
    if settings.target == "label":
        require_both_classes(train, "train")
        require_both_classes(val, "val")
        return [], np.asarray(train.y), np.asarray(val.y)
    classes = class_names(train.generators, "train")
    return classes, encode_labels(train.generators, classes, "train"), encode_labels(val.generators, classes, "val")


def subsample(y: Ints, settings: SvmSettings, name: str, seed: int) -> Ints:
    """Return as many indices as the parameter of that name says, every class its share and at least one, in order.

    InputError where there are more classes.
    """
    max_rows: int = getattr(settings, name)
    if (num_classes := len(np.unique(y))) > max_rows:
        raise InputError(f"svm.{name}={max_rows}: less than one image of each of {num_classes} classes")
    if len(y) <= max_rows:
        return np.arange(len(y))
    order = seeding.numpy_generator("svm sample", seed).permutation(len(y))
    parts = [order[y[order] == k] for k in np.unique(y)]
    return np.sort(np.concatenate([part[: max(max_rows * len(part) // len(y), 1)] for part in parts]))


def forward_selection(columns: Ints, score: Callable[[Ints], float], max_features: int) -> Ints:
    """Add the column that scores best with those chosen, until ``max_features`` or until none improves."""
    chosen: list[int] = []
    best = -np.inf
    while len(chosen) < min(max_features, len(columns)):
        scores = {int(c): score(np.array(sorted([*chosen, c]))) for c in columns if c not in chosen}
        column = max(scores, key=scores.__getitem__)
        if scores[column] <= best:
            break
        best = scores[column]
        chosen.append(column)
    return np.array(sorted(chosen))


def _select_columns(settings: SvmSettings, x: Floats, y: Ints, x_val: Floats, y_val: Ints, seed: int) -> Ints:
    """Return the features of the machine: all, the best by F-test, or of those a greedy choice scored on val."""
    if settings.features == "all":
        return np.arange(x.shape[1])
    if settings.k > x.shape[1]:
        raise InputError(f"svm.k={settings.k}: the embeddings have {x.shape[1]} columns")
    from sklearn.feature_selection import SelectKBest, f_classif

    with np.errstate(divide="ignore", invalid="ignore"):
        best: Ints = SelectKBest(f_classif, k=settings.k).fit(x, y).get_support(indices=True)
    if settings.features == "k_best":
        return best
    rows, val_rows = (subsample(labels, settings, "selection_sample", seed) for labels in (y, y_val))
    num_classes = int(y.max()) + 1

    def score(columns: Ints) -> float:
        strength, gamma = settings.strengths[0], settings.gamma[0]
        sample = x[rows][:, columns]
        machine = _fit_machine(settings, sample, y[rows], strength, _gamma(gamma, sample), seed)
        decisions = machine.decision_function(x_val[val_rows][:, columns])
        return _f1_macro(y_val[val_rows], predict(decisions, num_classes))

    return forward_selection(best, score, settings.k)


def _gamma(gamma: float | Literal["scale"], x: Floats) -> float:
    if gamma != "scale":
        return gamma
    variance = x.var(dtype=np.float64)
    return float(1 / (x.shape[1] * variance)) if variance else 1.0


def fit_grid(settings: SvmSettings, x: Floats, y: Ints, seed: int) -> dict[Cell, KernelMachine]:
    """Return the machine of each cell; of several libsvm gets each gamma's kernel, one product, where it fits."""
    shared = settings.solver == "libsvm" and len(settings.c) * len(settings.gamma) > 1 and len(x) <= MAX_KERNEL_ROWS
    machines: dict[Cell, KernelMachine] = {}
    for gamma in settings.gamma:
        value, wide = _gamma(gamma, x), x.astype(np.float64)
        kernel = rbf(wide, wide, value) if shared else None
        for strength in settings.strengths:
            machines[strength, gamma] = _fit_machine(settings, x, y, strength, value, seed, kernel)
    return {cell: machines[cell] for cell in product(settings.strengths, settings.gamma)}


def _fit_machine(
    settings: SvmSettings, x: Floats, y: Ints, strength: float, gamma: float, seed: int, kernel: Floats | None = None
) -> KernelMachine:
    if settings.solver == "nystroem":
        return nystroem(x, y, strength, gamma, settings.landmarks, seed)
    return support_vectors(x, y, strength, gamma, settings.solver == "intelex", kernel)


def _f1_macro(y: Ints, predicted: Ints) -> float:
    from sklearn.metrics import f1_score  # a second to import, which `predict` need not wait for

    return float(f1_score(y, predicted, average="macro"))
