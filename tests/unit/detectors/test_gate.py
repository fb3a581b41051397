"""The gate starts as the mean and weighs each image by itself; it beats its controls where one backbone knows."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from aigid.core.errors import InputError
from aigid.detectors.gate import AverageFusion, ConcatenationFusion, FusionSettings, GatedFusion, SoftmaxGate
from aigid.detectors.samples import LabeledEmbeddings
from aigid.training.tabular import reset_parameters, torch_generator

ALL = (GatedFusion, ConcatenationFusion, AverageFusion)
SETTINGS = FusionSettings(
    backbone="b", dataset="d", width=8, hidden=16, epochs=15, learning_rate=1e-2, batch_size=64, weight_decay=0.01
)


def parts(num: int = 6, width: int = 8, k: int = 3) -> list[Tensor]:
    return list(torch.randn(k, num, width, generator=torch.Generator().manual_seed(0)))


def learnt(k: int = 3) -> SoftmaxGate:
    return reset_parameters(SoftmaxGate(k, 8, 16), torch_generator("gate"))


def test_it_starts_as_the_mean() -> None:
    torch.testing.assert_close(SoftmaxGate(3, 8, 16)(parts()), torch.stack(parts()).mean(dim=0))
    gate = learnt()
    assert not torch.allclose(gate(parts()), torch.stack(parts()).mean(dim=0), atol=1e-2)
    gate.init_uniform()
    torch.testing.assert_close(gate(parts()), torch.stack(parts()).mean(dim=0))


def test_the_sum_equals_a_loop() -> None:
    gate, given = learnt(), parts()
    weights = gate.weights(given).detach().numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights.std(axis=0).min() > 1e-3  # an image's own
    for image in range(6):
        expected = sum(weights[image, k] * given[k][image].numpy() for k in range(3))
        np.testing.assert_allclose(gate(given)[image].detach().numpy(), expected, atol=1e-6)


def test_one_part_passes_through() -> None:
    torch.testing.assert_close(learnt(1)(parts(k=1)), parts(k=1)[0])


def rows(seed: int, num: int = 600, switch: bool = False) -> LabeledEmbeddings:
    """Two backbones, 6 and 4 wide; with ``switch``, a flag in the first says which of them knows."""
    rng = np.random.default_rng(seed)
    y, flag = rng.integers(0, 2, num), rng.integers(0, 2, num)
    x = rng.normal(size=(num, 10))
    sign = 2 * y - 1
    if switch:
        x[:, 0] = 6 * flag - 3
        x[:, 1] = np.where(flag == 0, 2 * sign, 4 * rng.choice([-1, 1], num)) + rng.normal(size=num) / 2
        x[:, 7] = np.where(flag == 1, 2 * sign, 4 * rng.choice([-1, 1], num)) + rng.normal(size=num) / 2
    else:
        x[:, 1] += sign
        x[:, 7] += sign
    return LabeledEmbeddings((x * 3 + 5).astype(np.float32), y, widths=(6, 4))


def fitted(kind: type, switch: bool = False) -> float:
    test = rows(1, 3000, switch)
    return roc_auc_score(test.y, kind.fit(SETTINGS, rows(0, 1000, switch), test, 0).p_generated(test.x))


def test_where_both_backbones_know_all_are_as_good_as_logistic_regression() -> None:
    train, test = rows(0, 1000), rows(1, 3000)
    reference = roc_auc_score(test.y, LogisticRegression().fit(train.x, train.y).decision_function(test.x))
    for kind in ALL:
        assert fitted(kind) == pytest.approx(reference, abs=0.01)


def test_where_one_backbone_knows_only_the_gate_finds_out_which() -> None:
    gate, *controls = (fitted(kind, switch=True) for kind in ALL)
    assert gate > max(controls) + 0.05


def test_averaging_is_the_mean_of_backbones_that_learn_alone() -> None:
    """Noise in place of the second backbone leaves the first backbone's own verdict as it was."""
    train, test = rows(0), rows(1)
    noisy = train.x.copy()
    noisy[:, 6:] = np.random.default_rng(9).normal(size=(len(train), 4))
    heads = [
        AverageFusion.fit(SETTINGS, LabeledEmbeddings(x, train.y, widths=(6, 4)), test, 0) for x in (train.x, noisy)
    ]
    first, second = (
        head.head.per_encoder_logits(head.head.mean.new_tensor(test.x)).sigmoid().numpy() for head in heads
    )
    np.testing.assert_allclose(first[:, 0], second[:, 0], atol=1e-5)
    np.testing.assert_allclose(heads[0].p_generated(test.x), first.mean(axis=1), atol=1e-6)


def test_bad_rows_are_named() -> None:
    train = rows(0)
    train.x[5, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinity in the embedding of row 6"):
        GatedFusion.fit(SETTINGS, train, train, 0)
