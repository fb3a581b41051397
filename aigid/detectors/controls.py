"""Negative controls: detectors that learn from what must not tell, or from what is no forgery, and so have to fail."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from aigid.core import seeding
from aigid.core.params import Settings
from aigid.detectors.probe import LinearProbe, PositiveFloat, ProbeSettings
from aigid.detectors.samples import LabeledEmbeddings, Samples, require_both_classes
from aigid.detectors.scoring import MANIFEST_COLUMNS, OPTIONAL_COLUMNS
from aigid.images import properties

NOISE = 64  # dimensions
MAX_CATEGORIES = 100  # of a trait; rarer ones count as unknown

Floats = np.ndarray
ScoreFunction = Callable[[pd.DataFrame], Floats]


class ControlSettings(Settings):
    """What the controls learn from, and the probe's regularisation."""

    backbone: str
    dataset: str
    c: PositiveFloat


def label_shuffled(settings: ControlSettings, dataset: Samples, seed: int) -> LinearProbe:
    """The linear probe on embeddings whose training labels are dealt out at random."""
    train = dataset.split("train")
    dealt = seeding.numpy_generator("control_shuffled", seed).permutation(train.y)
    return _probe(settings, LabeledEmbeddings(train.x, dealt), seed)


def noise_embeddings(settings: ControlSettings, table: pd.DataFrame, seed: int) -> ScoreFunction:
    """The linear probe on random numbers drawn for each image from its bytes: it knows nothing but exact copies."""
    train = table[table["split"] == "train"]
    probe = _probe(settings, LabeledEmbeddings(_noise(train, seed), train["label"].to_numpy()), seed)
    return lambda rows: probe.p_generated(_noise(rows, seed))


def probe_on_properties(train: pd.DataFrame, columns: tuple[str, ...]) -> ScoreFunction:
    """Boosted trees on some columns of ``traits``, which ``train`` holds beside ``label``; NaN for an unknown image."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # a second to import

    train = train[_encode_known(train, columns)]
    require_both_classes(LabeledEmbeddings(np.empty(0), train["label"].to_numpy()), "train")
    codes = {name: _codes(train[name]) for name in columns if name in properties.COLUMNS}
    model = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=8, categorical_features=[name in codes for name in columns], early_stopping=False
    )
    with threadpool_limits(1):
        model.fit(_encode(train, columns, codes), train["label"])

    def score(rows: pd.DataFrame) -> Floats:
        scores, known = np.full(len(rows), np.nan), _encode_known(rows, columns)
        if known.any():
            with threadpool_limits(1):
                scores[known] = model.predict_proba(_encode(rows[known], columns, codes))[:, 1]
        return scores

    return score


def score_frame(table: pd.DataFrame, score: ScoreFunction) -> pd.DataFrame:
    """A scores file's rows of the val and test images, view ``clean``; those without a score are left out."""
    judged = table[table["split"] != "train"].reset_index(drop=True)
    rows = judged[[*MANIFEST_COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in judged)]].copy()
    rows.insert(len(MANIFEST_COLUMNS), "view", "clean")
    rows.insert(len(MANIFEST_COLUMNS) + 1, "score", score(judged))
    return rows[rows["score"].notna()].reset_index(drop=True)


def _probe(settings: ControlSettings, train: LabeledEmbeddings, seed: int) -> LinearProbe:
    fixed = ProbeSettings(backbone=settings.backbone, dataset=settings.dataset, c=[settings.c])
    return LinearProbe.fit(fixed, train, train, seed)


def _noise(rows: pd.DataFrame, seed: int) -> Floats:
    """(N, ``NOISE``) float32, the same for the same bytes."""
    keys = rows["path"] if "sha256" not in rows else rows["sha256"].where(rows["sha256"] != "", rows["path"])
    drawn = [seeding.numpy_generator("control_noise", seed, key).standard_normal(NOISE, np.float32) for key in keys]
    return np.stack(drawn)


def _encode_known(rows: pd.DataFrame, columns: tuple[str, ...]) -> Floats:
    """Whether every trait of each row (N,) is known."""
    return (rows[[*columns]].notna() & (rows[[*columns]] != "")).all(axis=1).to_numpy()


def _codes(column: pd.Series) -> dict[str, int]:
    return {name: place for place, name in enumerate(column.value_counts().index[:MAX_CATEGORIES])}


def _encode(rows: pd.DataFrame, columns: tuple[str, ...], codes: dict[str, dict[str, int]]) -> Floats:
    """(N, D) float64, a name as its place in ``codes``, NaN for others."""
    return np.column_stack([rows[name].map(codes[name]) if name in codes else rows[name] for name in columns]).astype(
        np.float64
    )
