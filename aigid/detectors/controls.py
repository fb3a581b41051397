"""Negative controls: detectors that learn from inputs without a trace of the forgery, and so have to fail."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from aigid.core import seeding, traits
from aigid.core.params import Settings
from aigid.detectors.probe import LinearProbe, PositiveFloat, ProbeSettings
from aigid.detectors.protocol import scores_frame
from aigid.detectors.samples import Floats, LabeledEmbeddings, Samples, require_both_classes, without_train

NOISE = 64  # dimensions
MAX_CATEGORIES = 100  # of a property; rarer ones count as unknown

ScoreFunction = Callable[[pd.DataFrame], Floats]


class ControlSettings(Settings):
    """What the controls learn from, and the probe's regularisation."""

    backbone: str
    dataset: str
    c: PositiveFloat


def label_shuffled(settings: ControlSettings, dataset: Samples, seed: int) -> LinearProbe:
    """Return the linear probe on embeddings with shuffled training labels."""
    train = dataset.split("train")
    shuffled = seeding.numpy_generator("control_shuffled", seed).permutation(train.y)
    return _probe(settings, LabeledEmbeddings(train.x, shuffled), seed)


def noise_embeddings(settings: ControlSettings, table: pd.DataFrame, seed: int) -> ScoreFunction:
    """Return the linear probe on random numbers seeded by each image's bytes: it knows nothing but exact copies."""
    train = table[table["split"] == "train"]
    probe = _probe(settings, LabeledEmbeddings(_noise(train, seed), train["label"].to_numpy()), seed)
    return lambda rows: probe.p_generated(_noise(rows, seed))


def probe_on_properties(train: pd.DataFrame, columns: tuple[str, ...]) -> ScoreFunction:
    """Return boosted trees on ``columns`` of properties of image files in ``train``; NaN for an unknown image."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # a second to import

    train = train[_known(train, columns)]
    require_both_classes(LabeledEmbeddings(np.empty(0), train["label"].to_numpy()), "train")
    kinds = {name: train[name].value_counts().index[:MAX_CATEGORIES] for name in columns if name in traits.COLUMNS}
    codes = {name: {kind: code for code, kind in enumerate(kinds[name])} for name in kinds}
    model = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=8, categorical_features=[name in codes for name in columns], early_stopping=False
    )
    with threadpool_limits(1):
        model.fit(_encode(train, columns, codes), train["label"])

    def score(rows: pd.DataFrame) -> Floats:
        scores, known = np.full(len(rows), np.nan), _known(rows, columns)
        if known.any():
            with threadpool_limits(1):
                scores[known] = model.predict_proba(_encode(rows[known], columns, codes))[:, 1]
        return scores

    return score


def score_frame(table: pd.DataFrame, score: ScoreFunction) -> pd.DataFrame:
    """Return a scores file's rows of the val and test images, view ``clean``, but those without a score."""
    evaluated = without_train(table).reset_index(drop=True)
    rows = scores_frame(evaluated, "clean", score(evaluated), "ok").drop(columns="status")
    return rows[rows["score"].notna()].reset_index(drop=True)


def _probe(settings: ControlSettings, train: LabeledEmbeddings, seed: int) -> LinearProbe:
    probe = ProbeSettings(backbone=settings.backbone, dataset=settings.dataset, c=[settings.c])
    return LinearProbe.fit(probe, train, train, seed)


def _noise(rows: pd.DataFrame, seed: int) -> Floats:
    """Return (N, ``NOISE``) float32, the same for the same bytes."""
    keys = rows["path"] if "sha256" not in rows else rows["sha256"].where(rows["sha256"] != "", rows["path"])
    generators = (seeding.numpy_generator("control_noise", seed, key) for key in keys)
    return np.stack([generator.standard_normal(NOISE, np.float32) for generator in generators])


def _known(rows: pd.DataFrame, columns: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return whether every property of each row (N,) is known."""
    return (rows[[*columns]].notna() & (rows[[*columns]] != "")).all(axis=1).to_numpy()


def _encode(rows: pd.DataFrame, columns: tuple[str, ...], codes: dict[str, dict[str, int]]) -> Floats:
    """Return (N, D) float64, a name as its index in ``codes``, NaN for others."""
    values = [rows[name].map(codes[name]) if name in codes else rows[name] for name in columns]
    return np.column_stack(values).astype(np.float64)
