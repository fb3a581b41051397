"""GenDet as a detector: it learns, keeps its teacher, repeats itself, and says what is wrong before it starts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aigid.core import params
from aigid.core.errors import InputError
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.model import readouts, squared_cosine_distance
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.gendet.training import Split, build_student, to_tensors, train_classifier
from aigid.detectors.samples import LabeledEmbeddings
from aigid.training.tabular import Rows
from tests.helpers.embeddings import separable_rows

TEACHER = {"num_tokens": 2, "width": 16, "heads": 2, "epochs": 8, "learning_rate": 3e-3, "batch_size": 32}
CLASSIFIER = {"epochs": 8, "learning_rate": 3e-3, "batch_size": 32}
SECTION = {
    "backbone": "b", "dataset": "d", "learning_rate": 1e-3, "num_rotations": 3, "batch_size": 32, "teacher": TEACHER,
    "classifier": CLASSIFIER,
}  # fmt: skip


def settings(**changes: object) -> GenDetSettings:
    return GenDetSettings.model_validate(SECTION | changes)


def rows(seed: int, num: int = 300, shift: float = 2.0, dim: int = 10) -> LabeledEmbeddings:
    return separable_rows(seed, num, dim, shift, slice(2, 5))


@pytest.fixture(scope="module")
def teacher() -> GenDet:
    return GenDet.fit_teacher(settings().teacher, rows(0), rows(1), 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "teacher"}, {"mode": "ad_fake"}, {}, {"reduction": "sum"}, {"optimizer_sharing": "separate"},
        {"residual_augmenter": False}, {"normalize_discrepancy": True}, {"classifier_fakes": "augmented"},
        {"mode": "ad", "num_rotations": 20},
    ],
    ids=lambda changes: " ".join(f"{key}={value}" for key, value in changes.items()) or "full",
)  # fmt: skip
def test_every_ablation_learns(teacher: GenDet, changes: dict) -> None:
    detector = GenDet.fit(settings(**changes), rows(0), rows(1), 0, teacher)
    test = rows(2)
    scores = detector.p_generated(test.x)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(test.y, scores) > 0.8


def test_a_teacher_of_its_own_is_the_same_teacher(teacher: GenDet) -> None:
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    given = GenDet.fit(settings(), rows(0), rows(1), 0, teacher)
    own = GenDet.fit(settings(), rows(0), rows(1), 0)
    np.testing.assert_array_equal(given.p_generated(rows(2).x), own.p_generated(rows(2).x))
    assert all((value == before[name]).all() for name, value in teacher.network.state_dict().items())
    assert all((value == before[name]).all() for name, value in given.network.state_dict().items() if name in before)


def test_the_teacher_alone_is_a_detector(teacher: GenDet) -> None:
    """Its score is the softmax of its head, whatever the scale of the embeddings."""
    test = rows(2)
    assert roc_auc_score(test.y, teacher.p_generated(test.x)) > 0.9
    scaled = LabeledEmbeddings(*(getattr(rows(0), name) for name in ("x", "y")))
    scaled = LabeledEmbeddings(scaled.x * 64 - 128, scaled.y)
    other = GenDet.fit_teacher(settings().teacher, scaled, rows(1), 0)
    np.testing.assert_allclose(other.p_generated(test.x * 64 - 128), teacher.p_generated(test.x), atol=1e-4)


def test_logs_have_a_line_an_epoch(teacher: GenDet) -> None:
    detector = GenDet.fit(settings(), rows(0), rows(1), 0, teacher)
    assert {name: len(log) for name, log in detector.logs.items()} == {
        "rotations": 4, "classifier": 8, "readouts": 5
    }  # fmt: skip
    assert len(teacher.logs["teacher"]) == 8
    log = detector.logs["rotations"]
    assert log.iloc[1:].notna().all(axis=None)
    assert log["steps"].tolist() == [0, 5, 10, 15]  # on 150 reals, 32 at a time
    assert log["distance_fakes"].iloc[0] == log["distance_augmented"].iloc[0]  # by an augmenter that is the identity
    last = detector.logs["classifier"]["val_auroc"].iloc[-1]
    assert last == pytest.approx(roc_auc_score(rows(1).y, detector.p_generated(rows(1).x)), abs=1e-6)
    no_val = LabeledEmbeddings(rows(1).x[:0], rows(1).y[:0])
    unwatched = GenDet.fit(settings(), rows(0), no_val, 0, teacher)
    np.testing.assert_array_equal(unwatched.p_generated(rows(2).x), detector.p_generated(rows(2).x))
    assert unwatched.logs["rotations"]["val_auroc"].isna().all()


def parameters(network: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def test_validation_images_teach_nothing(teacher: GenDet) -> None:
    """Neither the teacher nor the student nor the classifier."""
    other = GenDet.fit_teacher(settings().teacher, rows(0), rows(7, shift=-3.0), 0)
    assert torch.equal(parameters(other.network), parameters(teacher.network))
    networks = [GenDet.fit(settings(), rows(0), val, 0, teacher).network for val in (rows(1), rows(7, shift=-3.0))]
    assert torch.equal(*map(parameters, networks))


def test_a_student_of_reals_alone_learns_nothing_from_fakes(teacher: GenDet) -> None:
    other = rows(0)
    other.x[other.y == 1] *= -2

    def students(mode: str) -> list[Tensor]:
        chosen = settings(mode=mode)
        return [parameters(GenDet.fit(chosen, x, rows(1), 0, teacher).network.student) for x in (rows(0), other)]

    assert torch.equal(*students("ad"))
    assert not torch.equal(*students("ad_fake"))


def test_without_rotations_the_student_is_the_untrained_one(teacher: GenDet) -> None:
    untrained = GenDet.fit(settings(num_rotations=0), rows(0), rows(1), 0, teacher)
    assert torch.equal(
        parameters(untrained.network.student), parameters(build_student(teacher.network.teacher, settings(), 0))
    )
    trained = GenDet.fit(settings(), rows(0), rows(1), 0, teacher)
    columns = ["distance_reals", "distance_fakes", "val_auroc"]
    logs = [detector.logs["rotations"][columns].iloc[0] for detector in (untrained, trained)]
    assert logs[0].tolist() == logs[1].tolist()
    assert len(untrained.logs["classifier"]) == 8
    assert not torch.equal(*(parameters(detector.network.classifier) for detector in (untrained, trained)))


def test_the_classifier_can_be_trained_on_augmented_fakes(teacher: GenDet) -> None:
    """Of the same teacher and student; without an augmenter both are the same."""
    networks = [
        [GenDet.fit(settings(mode=mode, classifier_fakes=fakes), rows(0), rows(1), 0, teacher).network
         for fakes in ("plain", "augmented")]
        for mode in ("full", "ad_fake")
    ]  # fmt: skip
    assert all(torch.equal(*(parameters(network.student) for network in pair)) for pair in networks)
    assert [torch.equal(*(parameters(network.classifier) for network in pair)) for pair in networks] == [False, True]


def test_the_classifier_can_see_directions_alone(teacher: GenDet, tmp_path: Path) -> None:
    """Eq. 4 of unit vectors: its mean is that of the squared chord, here and after a reload."""
    detector = GenDet.fit(settings(normalize_discrepancy=True), rows(0), rows(1), 0, teacher)
    network, x = detector.network, to_tensors(rows(2), detector.network).x[:]
    chord = squared_cosine_distance(network.teacher(x), network.student(x))
    torch.testing.assert_close(network.output_difference(x).mean(dim=1), chord)
    loaded = GenDet.load(tmp_path, detector.save(tmp_path))
    np.testing.assert_array_equal(loaded.p_generated(rows(2).x), detector.p_generated(rows(2).x))


def test_readouts_of_one_pair_stand_side_by_side(teacher: GenDet) -> None:
    """Each against its definition; only the regression learns, and only from training rows."""
    detector = GenDet.fit(settings(), rows(0), rows(1), 0, teacher)
    log = detector.logs["readouts"].set_index("readout")["val_auroc"]
    network, val = detector.network, rows(1)
    x = to_tensors(val, network).x[:]
    zt, zs = network.teacher(x).numpy(), network.student(x).numpy()
    cosines = (zt * zs).sum(axis=1) / np.linalg.norm(zt, axis=1) / np.linalg.norm(zs, axis=1)
    expected = {
        "teacher": teacher.p_generated(val.x), "cosine_distance": -cosines,
        "mean_discrepancy": ((zt - zs) ** 2).mean(axis=1), "classifier": detector.p_generated(val.x),
    }  # fmt: skip
    for name, scores in expected.items():
        assert log[name] == pytest.approx(roc_auc_score(val.y, scores), abs=1e-4), name
    assert list(log.index) == [*list(expected)[:3], "logistic_regression", "classifier"]
    scores = [
        readouts(network, data.x, data.y, 0)["logistic_regression"](x).numpy()
        for data in (to_tensors(rows(0), network), to_tensors(rows(5), network))
    ]
    assert not np.allclose(*scores)
    assert all(roc_auc_score(val.y, each) > 0.9 for each in scores)


def test_the_classifier_is_trained_on_discrepancies_alone(teacher: GenDet) -> None:
    """Features swapped for others of equal discrepancy change nothing."""
    network = GenDet.fit(settings(), rows(0), rows(1), 0, teacher).network
    data, held_out = to_tensors(rows(0), network), to_tensors(rows(1), network)
    network.classifier.requires_grad_(True)
    train_classifier(network, data, held_out, settings(), 0)
    first = {name: value.clone() for name, value in network.classifier.state_dict().items()}
    known = torch.cat([network.output_difference(split.x[:]) for split in (data, held_out)])
    network.output_difference = lambda x: known[x[:, 0].long()]
    train_classifier(network, numbered(data, 0), numbered(held_out, len(data.y)), settings(), 0)
    for name, value in network.classifier.state_dict().items():
        torch.testing.assert_close(value, first[name], atol=1e-4, rtol=1e-3)


def numbered(split: Split, first: int) -> Split:
    """Rows that hold nothing but their numbers."""
    x = torch.arange(first, first + len(split.y))[:, None].float()
    return Split(Rows(x, split.x.numbers, lambda x: x), split.y)


def test_noise_teaches_nothing() -> None:
    """Twice over: features of pure noise, and labels shuffled five times over features that do tell."""
    quick = settings(num_rotations=2)
    noise = [rows(seed, 400, shift=0.0) for seed in (0, 1)]
    test = rows(2, 4000, shift=0.0)
    assert abs(roc_auc_score(test.y, GenDet.fit(quick, *noise, 0).p_generated(test.x)) - 0.5) <= 0.05
    test, aurocs = rows(2, 2000), []
    for seed in range(5):
        y = np.random.default_rng(seed).permutation(rows(0).y)
        detector = GenDet.fit(quick, LabeledEmbeddings(rows(0).x, y), rows(1), seed)
        aurocs.append(roc_auc_score(test.y, detector.p_generated(test.x)))
    assert abs(np.mean(aurocs) - 0.5) <= 0.08, aurocs


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that operations make within the block."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        made = [leaf.untyped_storage() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        self.bytes = max([self.bytes, *(storage.nbytes() for storage in made if storage._cdata not in given)])
        return out


@pytest.mark.parametrize("fakes", ["plain", "augmented"])
def test_neither_features_nor_outputs_of_all_rows_stand_in_memory_twice(
    fakes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor is as large as the features: rows are taken by number, a batch at a time."""
    monkeypatch.setattr("aigid.training.tabular.BATCH", 64)
    monkeypatch.setattr("aigid.detectors.gendet.model.MAX_ROWS", 64)
    train, once = rows(0, 4000, dim=64), {"epochs": 1}
    quick = settings(num_rotations=1, classifier_fakes=fakes, teacher=TEACHER | once, classifier=CLASSIFIER | once)
    with Largest() as largest:
        GenDet.fit(quick, train, rows(1, 400, dim=64), 0)
    assert largest.bytes <= 0.1 * train.x.nbytes


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("margin", 0, "greater than 0, got 0"),
        ("margin", -1.0, "greater than 0, got -1.0"),
        ("margin", 4.5, "less than or equal to 4, got 4.5"),
        ("margin", float("nan"), "got nan"),
        ("alpha", -0.1, "greater than or equal to 0, got -0.1"),
        ("num_rotations", -1, "greater than or equal to 0, got -1"),
        ("mode", "both", "got 'both'"),
        ("teacher", TEACHER | {"heads": 3}, "width 16 is not a multiple of 3 heads"),
    ],
)
def test_a_bad_value_is_one_line(key: str, value: object, said: str) -> None:
    with pytest.raises(InputError, match=rf"gendet\.{key}.*{said}") as caught:
        params.validate(SECTION | {key: value}, GenDetSettings, "gendet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"mode": "ad"}, {"num_rotations": 0}])
def test_a_student_that_would_stay_the_teacher_is_refused(changes: dict) -> None:
    with pytest.raises(InputError, match=r"gendet.*student_init teacher with.*discrepancy is 0 everywhere") as caught:
        params.validate(SECTION | {"student_init": "teacher"} | changes, GenDetSettings, "gendet")
    assert "\n" not in str(caught.value)
    assert settings(student_init="teacher").student_init == "teacher"


def test_bad_rows_are_named() -> None:
    good = rows(0)
    for label, said in ((0, "150 real and 0 generated"), (1, "0 real and 150 generated")):
        kept = good.y == label
        with pytest.raises(InputError, match=f"split train: {said}"):
            GenDet.fit(settings(), LabeledEmbeddings(good.x[kept], good.y[kept]), rows(1), 0)
    broken = good.x.copy()
    broken[[3, 8], 1] = np.nan, np.inf
    with pytest.raises(InputError, match=r"split train: NaN or infinity in the embedding of 3\.png, 8\.png$"):
        GenDet.fit(settings(), LabeledEmbeddings(broken, good.y, good.paths), rows(1), 0)
    with pytest.raises(InputError, match=r"split val: .* row 4, row 9$"):
        GenDet.fit(settings(), good, LabeledEmbeddings(broken, good.y), 0)


def test_a_teacher_of_other_embeddings_is_refused(teacher: GenDet) -> None:
    with pytest.raises(InputError, match="the teacher takes embeddings of 10 numbers, not 7"):
        GenDet.fit(settings(), rows(0, dim=7), rows(1, dim=7), 0, teacher)
    with pytest.raises(InputError, match=r"gendet\.teacher\.num_tokens=1, but the teacher was trained with 2"):
        GenDet.fit(settings(teacher=TEACHER | {"num_tokens": 1}), rows(0), rows(1), 0, teacher)
