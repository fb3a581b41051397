"""The rotations: who learns when, in which direction, and what stays still to the last bit."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aigid.detectors.gendet.model import GenDetModel, Teacher, fake_loss, squared_cosine_distance
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.gendet.training import AlternatingTraining, Split, build_augmenter, train_student
from aigid.training.tabular import Rows, reset_parameters, torch_generator

SHAPE = {"num_tokens": 2, "width": 16, "heads": 2, "learning_rate": 1e-3}
SETTINGS = GenDetSettings(
    backbone="b",
    dataset="d",
    learning_rate=1e-3,
    alpha=1.0,
    batch_size=32,
    teacher=SHAPE,
    classifier={"learning_rate": 1e-3},
)


def rotations(seed: int = 0, **changes: object) -> AlternatingTraining:
    draw = torch.Generator().manual_seed(7)
    reals, fakes = torch.randn(100, 12, generator=draw), torch.randn(130, 12, generator=draw) + 1
    settings = SETTINGS.model_copy(update=changes)
    return AlternatingTraining(
        reset_parameters(Teacher(12, settings.teacher), torch_generator("t")), reals, fakes, settings, seed
    )


def frozen(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(network: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("stage", "learns"), [("real", "student"), ("fake", "student"), ("augmenter", "augmenter")])
def test_only_one_network_learns_in_an_epoch(stage: str, learns: str) -> None:
    training = rotations()
    before = {name: frozen(getattr(training, name)) for name in ("teacher", "student", "augmenter")}
    training.epoch(stage)
    for name, state in before.items():
        assert same(getattr(training, name), state) == (name != learns), name


def test_student_raises_what_the_augmenter_lowers() -> None:
    """The chord between teacher and student on augmented fakes; fails if their losses are swapped."""
    training = rotations()

    def chord() -> float:
        with torch.no_grad():
            x = training.augmented(training.fakes)
            return squared_cosine_distance(training.teacher(x), training.student(x)).mean().item()

    for _ in range(20):
        training.epoch("real")  # else they are orthogonal from the start, and margin 2 is content
    close = chord()
    for _ in range(5):
        training.epoch("fake")
    apart = chord()
    for _ in range(5):
        training.epoch("augmenter")
    assert apart > close + 0.1
    assert chord() < apart - 0.05


def test_real_epochs_bring_the_student_to_the_teacher() -> None:
    training = rotations()
    losses = [training.epoch("real") for _ in range(10)]
    assert losses[-1] < 0.5 * losses[0]


def test_steps_are_the_papers_losses() -> None:
    """One full batch by the formula, the teacher's kept outputs included."""
    training = rotations()
    rows = torch.arange(100)
    with torch.no_grad():
        zt, zs = training.teacher(training.reals), training.student(training.reals)
        assert training.real_step(rows).item() == pytest.approx(((zt - zs) ** 2).mean().item(), rel=1e-5)
        zt, zs = training.teacher(training.fakes[rows]), training.student(training.fakes[rows])
        cosine = torch.nn.functional.cosine_similarity(zt, zs)
        expected = (training.settings.margin - (2 - 2 * cosine)).clamp(min=0).mean().item()
        assert training.fake_step(rows).item() == pytest.approx(expected, rel=1e-5)


def test_without_the_augmenter_fakes_stay_what_they_are() -> None:
    training = rotations(mode="ad_fake")
    torch.nn.init.ones_(training.augmenter.out.weight)
    assert training.augmented(training.fakes) is training.fakes
    assert not torch.equal(rotations(mode="full").augmenter.out.weight, training.augmenter.out.weight)


def test_alpha_zero_leaves_the_fakes_without_a_say() -> None:
    training, other = rotations(alpha=0.0, weight_decay=0.0), rotations(alpha=0.0, weight_decay=0.0)
    torch.nn.init.normal_(other.fakes, generator=torch.Generator().manual_seed(1))
    for each in (training, other):
        each.epoch("fake")
    assert same(training.student, frozen(other.student))


def test_separate_states_make_alpha_a_matter_of_scale() -> None:
    """AdamW is blind to a constant factor if the fakes' epochs have moments of their own, but for its epsilon."""

    def after(alpha: float, state: str) -> torch.Tensor:
        training = rotations(alpha=alpha, optimizer_sharing=state)
        for _ in range(2):
            training.epoch("real")
            training.epoch("fake")
        with torch.no_grad():
            return training.student(training.fakes)

    near = (after(1.0, "separate") - after(0.1, "separate")).abs().max()
    far = (after(1.0, "shared") - after(0.1, "shared")).abs().max()
    assert near < 0.1 * far


def test_equal_seeds_give_equal_bits_even_in_threads() -> None:
    def train(seed: int) -> torch.Tensor:
        training = rotations(seed)
        for _ in range(2):
            training.epoch("real")
            training.epoch("fake")
            training.epoch("augmenter")
        return training.student.tokeniser.linear.weight.detach()

    alone = [train(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(train, (0, 1)))
    assert not torch.equal(*alone)
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))


def moved_augmenter(training: AlternatingTraining) -> AlternatingTraining:
    """Away from the identity, at which an augmented fake is the fake itself."""
    torch.nn.init.normal_(training.augmenter.out.weight, generator=torch.Generator().manual_seed(3))
    return training


def test_the_student_learns_from_augmented_fakes() -> None:
    """Eq. 2 of G's output, where it differs from the fake."""
    training = moved_augmenter(rotations())
    rows = torch.arange(100)
    with torch.no_grad():
        x = training.augmenter(training.fakes[rows])
        losses = [fake_loss(training.teacher(x), training.student(x), 2.0) for x in (x, training.fakes[rows])]
        assert training.fake_step(rows) == losses[0]
    assert losses[0] != losses[1]


def test_no_gradient_reaches_the_augmenter_where_the_student_learns() -> None:
    """Even if nothing has switched its parameters off."""
    training = moved_augmenter(rotations())
    training.augmenter.requires_grad_(True)
    training.fake_step(torch.arange(100)).backward()
    assert all(parameter.grad is None for parameter in training.augmenter.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in training.student.parameters())


def test_reduction_is_that_of_both_mean_squared_losses() -> None:
    rows, (mean, total) = torch.arange(100), [moved_augmenter(rotations(reduction=name)) for name in ("mean", "sum")]
    with torch.no_grad():
        num = mean.teacher(mean.reals).shape[1]
        for step in ("real_step", "augmenter_step"):
            assert getattr(total, step)(rows).item() == pytest.approx(num * getattr(mean, step)(rows).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "order"), [("ad", ["real"]), ("ad_fake", ["real", "fake"]), ("full", ["real", "fake", "augmenter"])]
)
def test_epochs_of_a_rotation_come_in_the_papers_order(mode: str, order: list[str], monkeypatch) -> None:
    """Fig. 2: (a) reals, (b) fakes, (c) the augmenter; each that the mode has, every time."""
    stages, epoch = [], AlternatingTraining.epoch
    monkeypatch.setattr(AlternatingTraining, "epoch", lambda self, stage: stages.append(stage) or epoch(self, stage))
    settings = SETTINGS.model_copy(update={"mode": mode, "num_rotations": 3})
    network = reset_parameters(GenDetModel(12, settings.teacher, teacher_only=False), torch_generator("n"))
    y = torch.arange(60) % 2
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(1))
    data = Split(Rows(x, torch.arange(60), network.standardize), y)
    training, log = train_student(network, data, data, settings, 0)
    assert stages == 3 * order
    assert log[[f"{stage}_loss" for stage in order]].notna().sum().tolist() == [3] * len(order)
    assert same(training.augmenter, frozen(build_augmenter(12, settings, 0))) == (mode != "full")
    assert network.student is training.student


def test_a_student_can_start_as_the_teacher() -> None:
    training = rotations(student_init="teacher")
    with torch.no_grad():
        assert torch.equal(training.student(training.fakes), training.teacher(training.fakes))
    for _ in range(10):
        training.epoch("real")
        training.epoch("fake")
    with torch.no_grad():
        chords = [squared_cosine_distance(training.teacher(x), training.student(x)).mean() for x in
                  (training.reals, training.fakes)]  # fmt: skip
    assert chords[1] > 2 * chords[0]
    assert chords[1] > 0.1


def test_balanced_epochs_take_as_many_fakes_as_there_are_reals(monkeypatch) -> None:
    """100 of 130, others in each epoch; all 130 otherwise."""
    for sampling, num in (("balanced", 100), ("all", 130)):
        training, drawn = rotations(fake_sampling=sampling), []
        step = training.fake_step
        monkeypatch.setattr(training, "fake_step", lambda rows, step=step, to=drawn: to.append(rows) or step(rows))
        for _ in range(2):
            training.epoch("fake")
        epochs = torch.cat(drawn).reshape(2, num)
        assert [len(set(rows.tolist())) for rows in epochs] == [num, num]
        assert (set(epochs[0].tolist()) == set(epochs[1].tolist())) == (sampling == "all")
