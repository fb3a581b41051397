"""Both stages on a toy dataset: teachers that stay, runs that go on after a kill, faults that are told in one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from aigid.core import manifest as manifests
from aigid.core.errors import InputError
from aigid.detectors.bundle import load
from aigid.detectors.featdistill import losses, training
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.detector import FeatDistill
from aigid.detectors.featdistill.settings import ExpertSettings, Stage2Settings
from aigid.detectors.featdistill.training import StageRun, lr_schedule
from aigid.training.loop import Trainer
from tests.helpers.demo_experts import settings

ROOT = Path(__file__).resolve().parents[4]
CPU = torch.device("cpu")


def tensors(folder):
    return load(folder).detector.members["siglip"].load().state_dict()


def test_stage_1_learns_and_stage_2_keeps_what_it_learnt(images, root, tmp_path):
    how = settings(stage1={"epochs": 6}, data={"policy": None})
    log = training.train_stage(how, "siglip", images, root, 0, tmp_path / "one")
    assert list(log["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert log["val_auroc_clean"].iloc[-1] > 0.95
    log = training.train_stage(how, "siglip", images, root, 0, tmp_path / "two", tmp_path / "one")
    assert {"train_cross_entropy", "train_distillation", "val_auroc_degraded"} <= set(log)
    assert log["val_auroc_clean"].iloc[-1] > 0.95
    assert any(not torch.equal(a, b) for a, b in zip(*map(list, both(tmp_path)), strict=True))


def both(folder):
    return (tensors(folder / name).values() for name in ("one", "two"))


@pytest.mark.parametrize("mode", ["l2", "crd_ema", "none"])
def test_what_stage_2_does_to_its_teacher(mode, images, root, monkeypatch):
    """Frozen, it is bit-identical afterwards; moving, it lies between itself and the student."""
    seen, teach = [], losses.build_distiller
    monkeypatch.setattr(training, "build_distiller", lambda *it: seen.append(teach(*it)) or seen[0])
    course = StageRun(
        settings(stage2={"mode": mode, "queue": 32, "momentum": (0.5, 0.9)}), "siglip", 2, images, root, 0
    )
    made = experts.build(course.expert)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    training.train(course, made, CPU)
    (taught,) = seen
    assert (taught.teacher is None) == (mode == "none")
    if mode == "none":
        return
    after = taught.teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) == (mode == "l2")
    assert not taught.teacher.training
    if mode == "crd_ema":
        assert taught.extra_state["contrast"].queue.shape == (32, 128)
        moved = [torch.norm(after[name] - made.state_dict()[name]) for name in before]
        start = [torch.norm(before[name] - made.state_dict()[name]) for name in before]
        assert sum(moved) < sum(start)


@pytest.mark.parametrize("mode", ["l2", "crd_ema"])
def test_a_run_that_stops_after_any_step_ends_in_the_same_weights(mode, images, root, monkeypatch):
    how = settings(stage2={"mode": mode, "queue": 32, "epochs": 1})
    course = StageRun(how, "siglip", 2, images, root, 0)
    whole = experts.build(course.expert)
    _, path = training.train(course, whole, CPU)
    path.unlink()
    step, save, steps = Trainer.step, Trainer.save, []
    monkeypatch.setattr(Trainer, "save", lambda self, now=False: save(self, True))

    def stopping(self, *it):
        steps.append(None)
        if len(steps) == 3:
            raise SystemExit
        return step(self, *it)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(SystemExit):
        training.train(course, experts.build(course.expert), CPU)
    again = experts.build(course.expert)
    training.train(course, again, CPU)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_warm_up_and_cosine():
    share = lr_schedule(20, 0.1)
    assert [share(0), share(1), share(2)] == [0.5, 1.0, 1.0]
    assert share(11) == pytest.approx(0.5)
    assert share(20) == pytest.approx(0)


def test_the_encoder_has_a_rate_of_its_own(images, root):
    descent = Stage2Settings(mode="crd_ema", queue=8)
    made = experts.build(settings().experts["siglip"])
    taught = losses.build_distiller(made, descent, 10)
    encoder, rest = training.build_optimizer(made, taught.net, descent).param_groups
    assert (encoder["lr"], rest["lr"]) == (5e-6, 5e-5)
    assert len(encoder["params"]) == len(list(made.vision_encoder.parameters()))
    assert len(rest["params"]) == 4 + 2  # the head, and the projection that is contrasted


def test_stage_2_refuses_a_stage_1_of_other_settings(images, root, tmp_path):
    training.train_stage(settings(stage1={"epochs": 1}), "siglip", images, root, 0, tmp_path / "one")
    other = settings(stage1={"epochs": 2})
    with pytest.raises(InputError, match=r"one: stage 1 was trained with other settings, images or seed"):
        training.train_stage(other, "siglip", images, root, 0, tmp_path / "two", tmp_path / "one")
    both_kinds = settings(("clip", "siglip"))
    with pytest.raises(InputError, match=r"one: holds featdistill siglip, want the expert clip"):
        training.train_stage(both_kinds, "clip", images, root, 0, tmp_path / "two", tmp_path / "one")
    (tmp_path / "experts").mkdir()
    (tmp_path / "one").rename(tmp_path / "experts/clip")
    with pytest.raises(InputError, match=r"clip: is not the expert clip"):
        FeatDistill.fit(both_kinds, None, None, 0, experts=tmp_path / "experts")
    assert {path.name for path in tmp_path.iterdir()} == {"experts", "cache"}


def test_a_loss_that_is_no_number_names_the_step(images, root, monkeypatch):
    course = StageRun(settings(), "siglip", 1, images, root, 0)
    made = experts.build(course.expert)
    with torch.no_grad():
        made.classifier[3].bias[0] = float("nan")
    with pytest.raises(InputError, match=r"siglip stage 1: cross_entropy is nan in epoch 1, step 1; there is no check"):
        training.train(course, made, CPU)


def command(folder, root, images, epochs):
    """A training stage of its own process, and its environment."""
    how = settings(stage1={"epochs": epochs}).model_dump(mode="json")
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump({"featdistill": how, "seed": 0}))
    manifests.write(images, folder / "toy.csv")
    (folder / "data/images").mkdir(parents=True)
    (folder / "data/images/toy").symlink_to(root)
    call = [sys.executable, "-m", "stages.train_featdistill", "--expert", "siglip", "--dataset", "toy"]
    call += ["--manifest", "toy.csv", "--out", "one", "--log", "log.csv"]
    # A checkpoint after every step, so that a kill finds one.
    call[1:3] = ["-c", "import runpy, sys; from tests.helpers.together import save_every_step; save_every_step(); "
                 "sys.argv[0] = 'x'; runpy.run_module('stages.train_featdistill', run_name='__main__')"]  # fmt: skip
    return call, os.environ | {"PYTHONPATH": str(ROOT), "AIGID_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "ctrl-c"])
def test_a_killed_process_goes_on_to_the_same_bytes(how, images, root, tmp_path):
    call, env = command(tmp_path / "whole", root, images, 3)
    assert subprocess.run(call, cwd=tmp_path / "whole", env=env, check=False).returncode == 0
    call, env = command(tmp_path / "cut", root, images, 3)
    process = subprocess.Popen(call, cwd=tmp_path / "cut", env=env, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "cut/cache").glob("training/[!.]*.pt")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(how)
    said = process.communicate()[1]
    assert process.returncode != 0
    assert not (tmp_path / "cut/one").exists()
    if how == signal.SIGINT:
        assert "stopped and saved; the same command goes on from here" in said
    assert subprocess.run(call, cwd=tmp_path / "cut", env=env, check=False).returncode == 0
    for name in ("one/siglip.safetensors", "log.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_seeds_make_experts(images, root):
    """Another seed is another head and another order of lessons."""
    how = settings().experts["siglip"]
    one, other = (experts.build(how.model_copy(update={"seed": seed})) for seed in (0, 1))
    assert not torch.equal(one.classifier[0].weight, other.classifier[0].weight)
    lessons = [StageRun(settings(), "siglip", 1, images, root, seed).train for seed in (0, 1)]
    assert any(np.any(a != b) for a, b in zip(*(it.take(0, np.arange(6)) for it in lessons), strict=True))


@pytest.mark.parametrize(
    ("name", "blocks"), [("siglip", ".layers."), ("open_clip", ".resblocks."), ("efficientnet", ".blocks.")]
)
def test_adapters_alone_learn_and_are_folded_in(name, blocks, images, root):
    """What no adapter touches stays bit for bit; a plain expert comes out that says what the trained one said."""
    how = settings([name], stage1={"encoder_learning_rate": 1e-2})
    lora = {"lora": {"rank": 2, "alpha": 2.0}, "gradient_checkpointing": True}
    chosen = how.model_copy(update={"experts": {name: ExpertSettings(**how.experts[name].model_dump() | lora)}})
    course = StageRun(chosen, name, 1, images, root, 0)
    made = experts.build(course.expert)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    log, _ = training.train(course, made, CPU)
    after = made.state_dict()
    assert set(after) == set(before)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    encoders = {key for key in changed if key.startswith("vision_encoder.")}
    assert encoders
    assert all(blocks in key and key.endswith("weight") for key in encoders)
    assert any("attn" in key or "conv_pw" in key for key in encoders)
    assert changed - encoders == {f"classifier.{layer}.{part}" for layer in (0, 3) for part in ("weight", "bias")}
    val = training.validation(made, course.val, {})
    with torch.inference_mode():
        again, _ = val.metrics(val.predict(course.val.take(-1, np.arange(val.num_items))).numpy())
    assert again["val_auroc_clean"] == pytest.approx(log[-1]["val_auroc_clean"])


def test_an_encoder_must_be_one_that_trains():
    with pytest.raises(ValidationError, match="an expert's encoder is trained: want library: open_clip"):
        ExpertSettings(backbone="clip_vit_b16_int8", seed=0)
