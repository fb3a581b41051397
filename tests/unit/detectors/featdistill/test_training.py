"""Both stages on a toy dataset: teachers that stay, runs that go on after a kill, faults that are told in one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from PIL import Image
from pydantic import ValidationError
from timm.optim import param_groups_weight_decay

from aigid.core import manifest as manifests
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.degradations import views
from aigid.detectors.bundle import load
from aigid.detectors.featdistill import losses, model, training
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.data import TrainDataset
from aigid.detectors.featdistill.detector import FeatDistill
from aigid.detectors.featdistill.settings import DataSettings, ExpertSettings, Stage2Settings
from aigid.detectors.featdistill.training import StageRun
from aigid.features.encoder import normalize
from aigid.features.vit import get_block
from aigid.training.loop import Trainer
from tests.helpers.demo_experts import STAGED, settings
from tests.helpers.together import train_in_child

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
    one, two = (tensors(tmp_path / stage) for stage in ("one", "two"))
    for name in (name for name in one if name.endswith("weight")):  # beyond what keeping them in float16 does
        rounded = one[name].half().float()
        assert (rounded - two[name]).abs().max() > 4 * (rounded - one[name]).abs().max(), name


def test_stages_take_images_in_another_order(images, root, monkeypatch):
    """Nothing is sampled of an image, so that it is known by its bytes."""
    orders, plain, forward = [], {"policy": None, "crop": "inference", "hflip": False}, training.forward
    monkeypatch.setattr(
        training,
        "forward",
        lambda expert, distiller, batch, how: (
            orders[-1].extend(crop.numpy().tobytes() for crop in batch.degraded)
            or forward(expert, distiller, batch, how)
        ),
    )
    for stage in (1, 1, 2):
        orders.append([])
        course = StageRun(settings(data=plain, **{f"stage{stage}": {"epochs": 1}}), "siglip", stage, images, root, 0)
        training.train(course, experts.build(course.expert), CPU)[1].unlink()
    first, again, second = orders
    assert len(set(first)) == 24
    assert first == again
    assert sorted(first) == sorted(second)
    assert sum(map(bytes.__eq__, first, second)) < 8


@pytest.mark.parametrize("mode", ["l2", "crd_ema", "none"])
@pytest.mark.parametrize("view", ["clean", "same"])
def test_the_teacher_sees_the_view_that_the_settings_name(mode, view, images, root, monkeypatch):
    """Every view has a brightness of its own; what reaches the student, and what the teacher."""
    course = StageRun(settings(stage2={"mode": mode, "teacher_view": view}), "siglip", 2, images, root, 0)
    made = experts.build(course.expert)
    taught, seen = losses.build_distiller(made, course.descent, 24), {}
    for who, net in (("student", made), ("teacher", taught.teacher)):
        if net is not None:
            net.vision_encoder.register_forward_pre_hook(lambda _, given, who=who: seen.update({who: given[0]}))
    batch = course.train.take(0, np.arange(8))
    training.forward(made, taught, batch, course.preprocess)
    expected = {"student": batch.degraded}
    if mode != "none":
        expected["teacher"] = batch.degraded if (mode, view) == ("l2", "same") else batch.second
    assert set(seen) == set(expected)
    for who, crops in expected.items():
        torch.testing.assert_close(seen[who], normalize(crops, course.preprocess, CPU))
    if mode == "l2" and view == "clean":
        clean = TrainDataset(course.train.images, root, DataSettings(policy=None), course.preprocess, 0, 2).take(
            0, np.arange(8)
        )
        np.testing.assert_array_equal(batch.second, clean.degraded)


@pytest.mark.parametrize("mode", ["l2", "crd_ema", "none"])
def test_what_stage_2_does_to_its_teacher(mode, images, root, monkeypatch):
    """Frozen, it is bit-identical afterwards; moving, it lies between itself and the student."""
    seen, teach = [], losses.build_distiller
    monkeypatch.setattr(training, "build_distiller", lambda *it: seen.append(teach(*it)) or seen[0])
    course = StageRun(
        settings(stage2={"mode": mode, "queue": 20, "momentum": (0.5, 0.9)}), "siglip", 2, images, root, 0
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
        contrast = taught.extra_state["contrast"]
        assert contrast.queue.shape == (20, 128)
        assert contrast.oldest == 2 * 24 % 20  # two epochs went in
        moved = [torch.norm(after[name] - made.state_dict()[name]) for name in before]
        start = [torch.norm(before[name] - made.state_dict()[name]) for name in before]
        assert sum(moved) < sum(start)


def test_a_queue_holds_an_image_once(images, root):
    """One that is asked for is refused before stage 1; the default is as long as there are images."""
    asked = settings(stage2={"mode": "crd_ema", "queue": 25})
    with pytest.raises(InputError, match=r"^featdistill.stage2.queue: 25 embeddings of 24 images; want at most 24$"):
        StageRun(asked, "siglip", 1, images, root, 0)
    StageRun(settings(stage2={"queue": 25}), "siglip", 1, images, root, 0)  # which l2 has not
    made = experts.build(asked.experts["siglip"])
    for num, length in ((24, 24), (20_000, 16_384)):
        taught = losses.build_distiller(made, Stage2Settings(mode="crd_ema"), num)
        assert len(taught.extra_state["contrast"].queue) == length


def _colors(root, num):
    """A manifest of images that embeddings can tell apart: each of a colour of its own, a fake with a grid."""
    rows, rng, grid = [], np.random.default_rng(0), 30 * (np.indices((20, 24)).sum(0) % 2)[..., None]
    for split in ("train", "val"):
        for number in range(num):
            label, path = number % 2, root / f"{split}_{number}.png"
            pixels = rng.integers(0, 256, 3) + rng.normal(0, 10, (20, 24, 3)) + label * grid
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
            rows.append((path.name, label, "toy" if label else "real", split, sha256(path)))
    return pd.DataFrame(rows, columns=["path", "label", "generator", "split", "sha256"])


def _both_stages(how, images, root, folder, first):
    """Both stages of a small expert; ``first`` is where stage 1 lies, or is put."""
    os.environ["AIGID_CACHE"] = str(folder / "cache")
    if not first.exists():
        training.train_stage(how, "siglip", images, root, 0, first)
    log = training.train_stage(how, "siglip", images, root, 0, folder / "two", first)
    log.to_csv(folder / "log.csv")


@pytest.mark.slow
def test_crd_ema_learns_and_goes_on_after_a_kill_to_the_same_bytes(tmp_path):
    """From the second epoch on, when earlier images alone are in the queue, its loss falls by a fifth and more.

    With rates of 1e-8 it stays within 5 %; with a weight of 1e-4 cross-entropy alone lowers it by a seventh.
    """
    descent = {"epochs": 10, "encoder_learning_rate": 3e-3, "head_learning_rate": 3e-3}
    descent |= {"mode": "crd_ema", "queue": 16, "momentum": (0.9, 0.99), "contrastive_weight": 1}
    how = settings(stage1={"epochs": 2}, stage2=descent, data={"policy": "ufd", "crop": "inference"})
    images, first = _colors(tmp_path, 48), tmp_path / "one"
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    steps = 48 // 8
    undisturbed, killed = ((how, images, tmp_path, tmp_path / name, first) for name in ("undisturbed", "killed"))
    assert train_in_child(_both_stages, *undisturbed) == (0, (2 + 10) * steps)
    assert train_in_child(_both_stages, *killed, kill_at=21) == (-signal.SIGKILL, 21)
    assert train_in_child(_both_stages, *killed) == (0, 10 * steps - 21)
    for name in ("log.csv", "two/siglip.safetensors", "two/model.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    loss = pd.read_csv(tmp_path / "killed/log.csv")["train_distillation"]
    assert loss.iloc[-3:].mean() < 0.82 * loss.iloc[1]


@pytest.mark.parametrize("mode", ["l2", "crd_ema"])
def test_a_run_that_stops_after_any_step_ends_in_the_same_weights(mode, images, root, monkeypatch):
    how = settings(stage2={"mode": mode, "queue": 20, "epochs": 1})
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
    share = model.lr_schedule(20, 0.1)
    assert [share(0), share(1), share(2)] == [0.5, 1.0, 1.0]
    assert share(11) == pytest.approx(0.5)
    assert share(20) == pytest.approx(0)


DECAYING = {  # ends of the names of what decays: weights of linear layers and convolutions
    "siglip": "patch_embedding.weight q_proj.weight k_proj.weight v_proj.weight out_proj.weight in_proj_weight "
    "fc1.weight fc2.weight",
    "clip": "patch_embedding.weight q_proj.weight k_proj.weight v_proj.weight out_proj.weight fc1.weight fc2.weight "
    "visual_projection.weight",
    "open_clip": "conv1.weight in_proj_weight out_proj.weight c_fc.weight c_proj.weight proj",
    "efficientnet": "conv_stem.weight conv.weight conv_exp.weight conv_pw.weight conv_dw.weight conv_pwl.weight "
    "conv_reduce.weight conv_expand.weight conv_head.weight",
}  # fmt: skip


def groups_of(made, descent):
    """What AdamW gets: learning rate and weight decay of each parameter by name, and how many groups there are."""
    net = losses.build_distiller(made, descent, 10).net
    groups = model.parameter_groups(made, net, descent)
    found = {id(value): (group["lr"], group["weight_decay"]) for group in groups for value in group["params"]}
    return {name: found[id(value)] for name, value in net.named_parameters()}, len(groups)


@pytest.mark.parametrize("kind", DECAYING)
def test_weights_alone_decay_and_the_encoder_has_a_rate_of_its_own(kind):
    descent = Stage2Settings(mode="crd_ema", queue=8, encoder_weight_decay=0.3, head_weight_decay=0.2)
    found, num = groups_of(experts.build(settings([kind]).experts[kind]), descent)
    assert num == 4
    for name, (rate, decay) in found.items():
        in_encoder = name.startswith("expert.vision_encoder.")
        assert rate == (5e-6 if in_encoder else 5e-5), name
        ends = DECAYING[kind] if in_encoder else "classifier.0.weight classifier.3.weight projection.linear.weight"
        assert decay == (name.endswith(tuple(ends.split())) and (0.3 if in_encoder else 0.2)), name
    free = [name.rpartition("vision_encoder.")[2] for name, (_, decay) in found.items() if not decay]
    assert any(name.endswith("bias") for name in free)
    positions = [name for name in free if "position" in name]
    assert len(positions) == (kind != "efficientnet")


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "beit_base_patch16_224", "vit_base_patch14_reg4_dinov2", "convnext_base"]
)
def test_what_decays_is_what_timm_lets_decay(name):
    with torch.device("meta"):
        encoder = timm.create_model(name, num_classes=0)
        made = experts.Expert(encoder, encoder.num_features)
    found, _ = groups_of(made, Stage2Settings(mode="none"))
    own = getattr(encoder, "no_weight_decay", set)
    _, expected = param_groups_weight_decay(encoder, 0.05, no_weight_decay_list=own())
    weights = {id(value) for value in expected["params"]}
    for key, value in encoder.named_parameters():
        assert (found[f"vision_encoder.{key}"][1] > 0) == (id(value) in weights), key


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


@pytest.mark.parametrize("kind", STAGED)
def test_feature_maps_are_dense_features(kind, images, root, tmp_path):
    """Both stages of a small copy of the paper's other backbones; the maps' pixels, row by row, are the tokens."""
    how = settings([kind], stage1={"epochs": 1}, stage2={"epochs": 1, "layers": (-1, 0)})
    training.train_stage(how, kind, images, root, 0, tmp_path / "one")
    log = training.train_stage(how, kind, images, root, 0, tmp_path / "two", tmp_path / "one")
    assert log["train_distillation"].iloc[-1] > 0
    made, pixels, maps = experts.build(how.experts[kind]).eval(), torch.randn(1, 3, 32, 32), []
    get_block(made.vision_encoder, 0).register_forward_hook(lambda _, given, output: maps.append(output))
    with torch.no_grad():
        (tokens,) = made.answer(pixels, (0,)).tokens
    (found,) = maps
    width = found.shape[2]
    pixel = found[0, 1, 2] if kind == "swin" else found[0, :, 1, 2]
    torch.testing.assert_close(tokens[0, width + 2], pixel)


@pytest.mark.parametrize("kind", ["siglip", "efficientnet", "swin"])
def test_layers_that_the_encoder_has_not_are_refused_before_stage_1(kind, images, root, tmp_path):
    how = settings([kind], stage2={"layers": (-1, 9)})
    num = {"siglip": 2, "efficientnet": 5, "swin": 2}[kind]
    said = rf"featdistill.stage2.layers: expert {kind}: layer 9: the encoder has {num} blocks"
    with pytest.raises(InputError, match=said):
        training.train_stage(how, kind, images, root, 0, tmp_path / "one")
    assert not (tmp_path / "one").exists()
    unused = settings([kind], stage1={"epochs": 1}, stage2={"mode": "none", "layers": (9,)})
    training.train_stage(unused, kind, images, root, 0, tmp_path / "one")


def _train_stage(*given):
    training.train_stage(*given)


def test_an_older_definition_of_the_policy_is_never_continued(images, root, tmp_path, monkeypatch):
    """Neither a checkpoint of either stage nor a stage 1 that is complete."""
    small, one = settings(stage1={"epochs": 1}, stage2={"epochs": 1}, data={"policy": "ufd"}), tmp_path / "one"
    first, second = (small, "siglip", images, root, 0, one), (small, "siglip", images, root, 0, tmp_path / "two", one)
    older = "from training under an older definition of its operators; remove it, to train anew"
    assert train_in_child(_train_stage, *first, kill_at=2) == (-signal.SIGKILL, 2)
    with monkeypatch.context() as patch:
        patch.setattr(views, "CACHE_VERSION", views.CACHE_VERSION + 1)
        with pytest.raises(InputError, match=rf"siglip-stage-1_.*\.pt: {older}"):
            training.train_stage(*first)
    training.train_stage(*first)
    assert train_in_child(_train_stage, *second, kill_at=2) == (-signal.SIGKILL, 2)
    monkeypatch.setattr(views, "CACHE_VERSION", views.CACHE_VERSION + 1)
    with pytest.raises(InputError, match=f"one: {older}"):
        training.train_stage(*second)
    training.train_stage(*first)
    with pytest.raises(InputError, match=rf"siglip-stage-2_.*\.pt: {older}"):
        training.train_stage(*second)


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
