"""Samples read their rows once: what the split of a large dataset costs in memory, and its statistics by block."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from aigid.core import embeddings
from aigid.core.embeddings import BLOCK
from aigid.core.errors import InputError
from aigid.detectors.samples import LabeledEmbeddings, Samples, mean_and_std, open_dataset, require_finite

NUM, DIM = 5 * BLOCK // 2, 64


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    x = np.random.default_rng(0).normal(100, 3, (NUM, 2 * DIM)).astype(np.float16)
    x[:, 0] = 7
    return x


@pytest.fixture(scope="module")
def samples(x: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Two files side by side, every third row for validation."""
    folder, numbers = tmp_path_factory.mktemp("samples"), np.arange(NUM)
    sha256 = [f"{number:064x}" for number in numbers]
    files = [folder / f"{part}.h5" for part in (0, 1)]
    for part, path in enumerate(files):
        metadata = {"seed": 0, "fingerprint": [str(part)]}
        with embeddings.create(path, {"clean": (DIM, "float16")}, sha256, ["ok"] * NUM, metadata) as out:
            out["clean"].write(0, x[:, part * DIM : (part + 1) * DIM])
    table = pd.DataFrame({"path": numbers.astype(str), "label": numbers % 2, "generator": "g", "sha256": sha256})
    return open_dataset(table.assign(split=np.where(numbers % 3, "train", "val")), files)


def peak_bytes(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_split_holds_its_rows_once(samples: Samples, x: np.ndarray) -> None:
    train = samples.split("train")
    np.testing.assert_array_equal(train.x, x[np.arange(NUM) % 3 > 0].astype(np.float32))
    assert peak_bytes(lambda: samples.split("train")) < 1.5 * train.x.nbytes


def test_statistics_are_those_of_all_rows_and_cost_a_block(x: np.ndarray) -> None:
    rows = x.astype(np.float32)
    mean, std = mean_and_std(rows)
    np.testing.assert_allclose(mean, rows.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std[1:], rows.std(axis=0, dtype=np.float64)[1:], rtol=1e-12)
    assert std[0] == 1
    labeled = LabeledEmbeddings(rows, np.zeros(NUM, np.int64))
    for function in (lambda: mean_and_std(rows), lambda: require_finite(labeled, "train")):
        assert peak_bytes(function) < 6 * BLOCK * 2 * DIM * 4


def test_a_row_that_is_not_finite_is_found_in_any_block(x: np.ndarray) -> None:
    rows = x.astype(np.float32)
    rows[BLOCK + 3, 5] = np.inf
    with pytest.raises(InputError, match=f"split val: NaN or infinity in the embedding of row {BLOCK + 4}$"):
        require_finite(LabeledEmbeddings(rows, np.zeros(NUM, np.int64)), "val")
