"""Stacked detectors (Wolpert 1992; Breiman 1996), weighted by what they say of unknown generators and sources."""

from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, field_validator

from aigid.core import params
from aigid.core.errors import InputError, reason
from aigid.core.params import Settings
from aigid.core.special import expit, fit_logistic, logit
from aigid.detectors import get_detector, settings_of
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, require_both_classes, require_finite

NAME, BACKBONES = "detector", "backbones"  # of a member's section, beside its detector's own parameters
OF_ALL = ("backbone", "dataset", "views")  # what members have in common
EPS = 1e-6  # probabilities are clipped by it


Name = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]  # that of a folder, too
Numbers = Annotated[tuple[Annotated[int, Field(strict=True)], ...], Field(min_length=1)]


class StackingSettings(Settings):
    """``members`` by name: a detector of embeddings, of which ``backbones`` of a joint one, and its own parameters."""

    backbone: str
    dataset: str
    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("clean",)  # of the images of train and val
    # Predictions of val; or of train out of fold, a fold's generators and sources, or its groups, being in no other.
    weights_from: Literal["val", "domain_folds", "group_folds"] = "domain_folds"
    folds: Annotated[int, Field(ge=2)] = 5
    members: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]

    @field_validator("members")
    @classmethod
    def _known(cls, members: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, section in members.items():
            member_settings(name, section)
        return members


def member_settings(name: str, section: dict[str, Any]) -> Settings:
    """Return a member's checked parameters; InputError where they, or its detector, do not fit."""
    detector = section.get(NAME)
    if not isinstance(detector, str):
        raise InputError(f"{name}: no `{NAME}`, the name of a detector of embeddings")
    kind = get_detector(detector)
    if issubclass(kind, Stacking):
        raise InputError(f"{name}.{NAME}={detector}: a stack of stacks")
    required = [key for key, value in signature(kind.fit).parameters.items() if value.default is Parameter.empty]
    if not issubclass(kind, EmbeddingDetector) or len(required) > len(("settings", "train", "val", "seed")):
        raise InputError(f"{name}.{NAME}={detector}: wants more than embeddings")
    if common := [key for key in OF_ALL if key in section]:
        raise InputError(f"{name}.{common[0]}: is the same for all members, `stacking.{common[0]}`")
    params.validate(section.get(BACKBONES, [0]), Numbers, f"{name}.{BACKBONES}")
    parameters = {key: value for key, value in section.items() if key not in (NAME, BACKBONES)}
    given = {key: key for key in ("backbone", "dataset")}
    kind_of_settings: type[Settings] = settings_of(detector)
    return params.validate(given | parameters, kind_of_settings, name)


class Stacking(EmbeddingDetector):
    """P(generated) = sigmoid(sum of w_k logit(p_k) + b) of K members' p_k, each w_k >= 0."""

    Settings = StackingSettings

    def __init__(self, members: dict[str, EmbeddingDetector], state: dict[str, Any]) -> None:
        self.members, self.state = members, state

    @classmethod
    def fit(cls, settings: StackingSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Fit members on train, each choosing on val, and their weights on val or out of the folds of train."""
        for rows, split in ((train, "train"), (val, "val")):
            require_both_classes(rows, split)
            require_finite(rows, split)
        columns = {name: _columns(name, section, train) for name, section in settings.members.items()}
        members = _fit_members(settings, train, val, columns, seed)
        if settings.weights_from == "val":
            logits, y, folds_log = _logits(members, columns, val.x), val.y, pd.DataFrame(columns=["images_of", "fold"])
        else:
            logits, folds_log = _out_of_fold(settings, train, val, columns, seed)
            y = train.y
        weights = fit_logistic(np.column_stack([logits, np.ones(len(logits))]), y, logits.shape[1])
        detectors = {name: section[NAME] for name, section in settings.members.items()}
        fitted = cls(members, {"detectors": detectors, "columns": columns, "weights": weights.tolist()})
        weights_log = pd.DataFrame({"member": [*settings.members, "offset"], "weight": weights})
        fitted.logs = {"weights": weights_log, "folds": folds_log}
        return fitted

    def p_generated(self, embeddings: Floats) -> Floats:
        *weights, offset = self.state["weights"]
        width = max(end for columns in self.state["columns"].values() for _, end in columns)
        if width > embeddings.shape[1]:
            raise InputError(f"stacking: wants embeddings of {width} columns or more, these have {embeddings.shape[1]}")
        logits = _logits(self.members, self.state["columns"], embeddings)
        return expit((logits * weights).sum(axis=1) + offset)

    def save(self, folder: Path) -> dict[str, Any]:
        states = {}
        for name, member in self.members.items():
            (folder / name).mkdir()
            states[name] = member.save(folder / name)
        return self.state | {"members": states}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        saved = params.validate(state, StackingState, "detector_state")
        names = set(saved.members)
        if not names == set(saved.columns) == set(saved.detectors) or len(saved.weights) != len(names) + 1:
            raise InputError("detector_state: members, detectors, columns and weights are not of the same members")
        members = {name: _load_member(folder, name, saved) for name in saved.members}
        return cls(members, {key: value for key, value in state.items() if key != "members"})


Column = Annotated[int, Field(ge=0, le=2**20)]  # of an embedding


class StackingState(Settings):
    """The ``detector_state`` of a saved stack; of each member start and end of the columns of each of its backbones."""

    detectors: dict[str, str]
    columns: dict[str, Annotated[tuple[tuple[Column, Column], ...], Field(min_length=1, max_length=64)]]
    weights: tuple[FiniteFloat, ...]
    members: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]


def _load_member(folder: Path, name: str, saved: StackingState) -> EmbeddingDetector:
    """Return a saved member; InputError where it is none, or gives no score to a row of its columns' width."""
    kind: Any = get_detector(saved.detectors[name])
    width = sum(end - start for start, end in saved.columns[name])
    try:
        member: EmbeddingDetector = kind.load(folder / name, saved.members[name])
        score = member.p_generated(np.zeros((1, width), np.float32))
    except Exception as error:  # files that are not what was saved raise anything
        why = reason(error).removeprefix(f"{folder / name}/")
        raise InputError(f"{folder / name}: no whole member: {why}") from None
    if not np.isfinite(score).all():
        raise InputError(f"{folder / name}: no whole member: it gives the score {score[0]}")
    return member


Detector = Stacking


def domains(rows: LabeledEmbeddings, groups: bool = False) -> NDArray[Any]:
    """Return what each row (N,) is of: the generator, or of a photograph the source; or with ``groups`` its group.

    What has no source is of its group, what has no group is by itself.
    """
    assert rows.origin is not None, "rows of a manifest"
    assert rows.paths is not None, "rows of a manifest"
    table = rows.origin.table.set_index("path")
    result = "image " + table.index.to_series()
    for column in ("group",) if groups else ("group", "source"):
        if column in table:
            result = (column + " " + table[column]).where(table[column] != "", result)
    if not groups:
        result = result.where(table["label"] == 0, "generator " + table["generator"].astype(str))
    return result.loc[rows.paths].to_numpy(str)


def assign_folds(keys: NDArray[Any], y: NDArray[Any], folds: int) -> dict[str, int]:
    """Return the fold of each domain: of either class the largest first, into the fold with fewest of its rows."""
    result: dict[str, int] = {}
    for label, kind in ((0, "sources or groups of photographs"), (1, "generators or groups of fakes")):
        names, counts = np.unique(keys[y == label], return_counts=True)
        if len(names) < folds:
            raise InputError(f"stacking.folds={folds}: train has {len(names)} {kind}; no more folds than that")
        sizes = np.zeros(folds, np.int64)
        for index in np.lexsort((names, -counts)):
            result[str(names[index])] = fold = int(sizes.argmin())
            sizes[fold] += counts[index]
    return result


def _out_of_fold(
    settings: StackingSettings,
    train: LabeledEmbeddings,
    val: LabeledEmbeddings,
    columns: dict[str, list[list[int]]],
    seed: int,
) -> tuple[Floats, pd.DataFrame]:
    """Return the members' logits (N, K) of train's rows, by members of the other folds, and the fold of each domain."""
    keys = domains(train, settings.weights_from == "group_folds")
    fold_of = assign_folds(keys, train.y, settings.folds)
    folds = np.array([fold_of[key] for key in keys])
    logits = np.empty((len(train), len(settings.members)))
    for fold in range(settings.folds):
        members = _fit_members(settings, _rows(train, folds != fold), val, columns, seed)
        logits[folds == fold] = _logits(members, columns, train.x[folds == fold])
    return logits, pd.DataFrame(sorted(fold_of.items()), columns=["images_of", "fold"])


def _columns(name: str, section: dict[str, Any], rows: LabeledEmbeddings) -> list[list[int]]:
    """Return start and end of the columns of each of a member's backbones."""
    ends = np.cumsum([0, *rows.widths])
    chosen = section.get(BACKBONES, range(len(rows.widths)))
    if bad := [number for number in chosen if not 0 <= number < len(rows.widths)]:
        raise InputError(f"stacking.members.{name}.{BACKBONES}={bad[0]}: there are {len(rows.widths)}, from 0")
    return [[int(ends[number]), int(ends[number + 1])] for number in chosen]


def _take(x: Floats, columns: list[list[int]]) -> Floats:
    return x if columns == [[0, x.shape[1]]] else np.concatenate([x[:, start:end] for start, end in columns], axis=1)


def _rows(rows: LabeledEmbeddings, mask: NDArray[np.bool_]) -> LabeledEmbeddings:
    assert rows.paths is not None
    return replace(rows, x=rows.x[mask], y=rows.y[mask], paths=rows.paths[mask], generators=rows.generators[mask])


def _fit_members(
    settings: StackingSettings,
    train: LabeledEmbeddings,
    val: LabeledEmbeddings,
    columns: dict[str, list[list[int]]],
    seed: int,
) -> dict[str, EmbeddingDetector]:
    members = {}
    for name, section in settings.members.items():
        widths = tuple(end - start for start, end in columns[name])
        parts = [replace(rows, x=_take(rows.x, columns[name]), widths=widths) for rows in (train, val)]
        kind: Any = get_detector(section[NAME])
        members[name] = kind.fit(member_settings(name, section), *parts, seed)
    return members


def _logits(members: dict[str, EmbeddingDetector], columns: dict[str, list[list[int]]], x: Floats) -> Floats:
    """Return the members' logits (N, K) float64 of embeddings (N, D)."""
    scores = [member.p_generated(_take(x, columns[name])) for name, member in members.items()]
    return logit(np.clip(np.stack(scores, axis=1), EPS, 1 - EPS))
