"""The ensemble is the mean of what its experts say, one at a time or all at once, and answers as the challenge asks."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import aigid
from aigid.cli.main import main
from aigid.core import manifest, scores
from aigid.detectors.bundle import Bundle, load, save
from aigid.detectors.featdistill import detector
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill, mean_probability
from aigid.detectors.samples import Samples
from aigid.experiments import featdistill
from aigid.features.encoder import normalize
from aigid.features.extract import EncoderLoader
from aigid.features.preprocess import resize_and_crop
from aigid.importers import featdistill as importer
from stages import compare_featdistill as stage
from tests.helpers.demo_experts import dataset, settings

KINDS = ("siglip", "open_clip", "clip")


@pytest.fixture(scope="module")
def images(root):
    return dataset(root, num=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ensemble of three experts, whose heads say something."""
    how, members = settings(KINDS), {}
    for kind in KINDS:
        made = experts.build(how.experts[kind]).eval()
        with torch.no_grad():
            made.classifier[3].weight.mul_(20)
        members[kind] = EnsembleMember(how.experts[kind], lambda made=made: made)
    out = tmp_path_factory.mktemp("models") / "featdistill"
    save(Bundle("featdistill", FeatDistill(members, half=True), how.model_dump(mode="json"), ["one"]), out)
    return out


def by_hand(folder, root, images):
    """P(generated) by each expert, image by image, from the files."""
    found = {}
    for name, member in load(folder).detector.members.items():
        made, how = member.load().eval(), member.settings.backbone.preprocess
        squares = [resize_and_crop(np.asarray(Image.open(root / path)), how) for path in images["path"]]
        with torch.no_grad():
            logits = torch.cat(
                [made(normalize(square[None], how, torch.device("cpu")).contiguous()) for square in squares]
            )
        found[name] = logits.double().softmax(1)[:, 1].numpy()
    return found


def test_the_mean_is_taken_in_order():
    """Floats do not add up alike in every order."""
    values = {"a": np.array([1e16]), "b": np.array([-1e16]), "c": np.array([1.0])}
    assert mean_probability(values) == 1 / 3
    assert mean_probability(dict(reversed(values.items()))) == 0


def test_streaming_bounds_the_batch(folder, root, images, monkeypatch):
    bounds = []
    monkeypatch.setattr(detector, "EncoderLoader", lambda largest: bounds.append(largest) or EncoderLoader(largest))
    detector.score_each(load(folder).detector, Samples(images, root), ["clean"], None)
    assert bounds == [detector.MAX_STREAM_BATCH] * len(KINDS)


@pytest.mark.parametrize("streamed", [False, True])
def test_scores_are_what_the_experts_say(streamed, folder, root, images):
    """Within what half precision of weights and embeddings leaves."""
    loader, samples = None if streamed else EncoderLoader(), Samples(images, root)
    found = detector.score_each(load(folder).detector, samples, ["clean", "jpeg65"], loader)
    assert list(found) == ["featdistill", *KINDS]
    rows = images[images["split"] != "train"]
    expected = by_hand(folder, root, rows)
    expected["featdistill"] = sum(expected.values()) / 3
    for name, table in found.items():
        clean = table[table["view"] == "clean"]
        assert clean["path"].tolist() == rows["path"].tolist()
        np.testing.assert_allclose(clean["score"], expected[name], atol=1e-3)
        assert np.ptp(clean["score"]) > 0.005
        assert len(table) == 2 * len(rows)


def test_beside_the_scores_of_an_expert_stands_what_gave_them(folder, root, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest.write(images, "d.csv")
    monkeypatch.setattr(stage, "dataset_root", lambda dataset: root)
    (tmp_path / "params.yaml").write_text(json.dumps({"datasets": ["d"], "views": ["clean"], "seed": 0}))
    command = ["--model", str(folder), "--manifests", ".", "--out", "out", "--halves", "halves.csv"]
    done = CliRunner().invoke(stage.main, command)
    assert done.exit_code == 0, done.output
    version = load(folder).identity.partition("@")[2]
    for kind in KINDS:
        known = scores.read_versions(tmp_path / f"out/{kind}/d.csv")
        assert (known["model"], set(known["views"])) == (f"{kind}@{version}", {"clean"})


def test_half_precision_costs_less_than_a_thousandth(folder, tmp_path, root, images):
    """An ensemble kept in float32 and computed without the cache, against the one in float16."""
    wide = {name: EnsembleMember(it.settings, it.load) for name, it in load(folder).detector.members.items()}
    save(Bundle("featdistill", FeatDistill(wide), {}, []), tmp_path / "wide")
    rows = images[images["split"] == "test"]
    said = load(folder).detector.predict(Samples(rows, root), ["clean"]).scores
    expected = by_hand(tmp_path / "wide", root, rows)
    for name, values in expected.items():
        np.testing.assert_allclose(said["clean"][name], values, atol=1e-3)


def test_halves_are_shared_out_by_content(images):
    """Each test image once: by its own bytes, wherever it stands."""
    table = pd.concat([images.assign(view=view) for view in ("clean", "jpeg65", "blur3")], ignore_index=True)
    digests = images.set_index("path")["sha256"]
    found = featdistill.split_by_hash(table, digests)
    assert sorted(found["path"]) == sorted(images.loc[images["split"] == "test", "path"])
    assert set(found["view"]) == {"clean", "jpeg65", "blur3"}
    views = found.set_index("path")["view"]
    assert featdistill.split_by_hash(table.iloc[::-1], digests).set_index("path")["view"].to_dict() == views.to_dict()
    for path, digest in digests[views.index].items():
        number = int(digest[:12], 16)
        assert (views[path] == "clean") == (number % 2 == 0)
    assert set(featdistill.split_by_hash(table[table["view"] == "clean"], digests)["view"]) == {"clean"}


def test_clean_and_robust_by_hand():
    """Two pairs of each half; the robust half has one of its two pairs the wrong way round."""
    table = pd.DataFrame(
        [("clean", 0, 0.1), ("clean", 1, 0.9), ("jpeg65", 0, 0.5), ("jpeg65", 1, 0.4), ("blur3", 1, 0.6)],
        columns=["view", "label", "score"],
    )
    found = featdistill.degraded_metrics(table, 0)
    assert found["auroc_clean"] == 1
    assert found["auroc_robust"] == 0.5
    assert (found["num_real_robust"], found["num_fake_robust"]) == (1, 2)
    assert np.isnan(featdistill.degraded_metrics(table[table["view"] == "clean"], 0)["auroc_robust"])


def test_the_challenge_is_answered(folder, root, images, tmp_path):
    nested = tmp_path / "in"
    shutil.copytree(root, nested / "deep")
    (nested / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    call = ["ntire", str(nested), "--model", str(folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 1, done.output
    assert "broken.jpg" in done.output
    answer = pd.read_csv(tmp_path / "out/predictions.csv")
    assert list(answer.columns) == ["image_name", "score"]
    assert answer["image_name"].tolist() == sorted(answer["image_name"])
    assert answer["image_name"].str.startswith("deep/").sum() == len(images)
    assert answer.set_index("image_name")["score"].isna().to_dict()["broken.jpg"]
    expected = dict(zip(images["path"], sum(by_hand(folder, root, images).values()) / 3, strict=True))
    for name, score in answer.dropna().itertuples(index=False):
        assert score == pytest.approx(expected[name.removeprefix("deep/")], abs=1e-3)
    meta = json.loads((tmp_path / "out/predictions.meta.json").read_text())
    assert meta["num_images"] == len(answer)
    assert list(meta["failed"]) == ["broken.jpg"]
    assert meta["experts"] == list(KINDS)


def test_an_answer_goes_on_and_depends_on_no_order(folder, root, tmp_path, monkeypatch):
    """A part first, then all, one expert at a time: the same bytes as all at once from an empty cache."""
    shutil.copytree(root, tmp_path / "part")
    for path in sorted((tmp_path / "part").iterdir())[::3]:
        path.unlink()
    calls = [(tmp_path / "part", []), (root, ["--streamed"])]
    for source, more in calls:
        call = ["ntire", str(source), "--model", str(folder), "--out", str(tmp_path / "out"), *more]
        assert CliRunner().invoke(main, call).exit_code == 0
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "empty"))
    call = ["ntire", str(root), "--model", str(folder), "--out", str(tmp_path / "whole")]
    assert CliRunner().invoke(main, call).exit_code == 0
    for name in ("predictions.csv", "predictions.meta.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--model", "MODEL"], "nowhere: no such folder"),
        (["EMPTY", "--model", "MODEL"], "no images below it"),
        (["EMPTY", "--model", "EMPTY"], "no whole model"),
    ],
)
def test_a_wrong_call_writes_nothing(arguments, said, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    places = {"MODEL": str(folder), "EMPTY": str(tmp_path / "empty"), "nowhere": str(tmp_path / "nowhere")}
    call = ["ntire", *(places.get(it, it) for it in arguments), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out").exists()


def test_a_bundle_judges_any_image(folder, root, images):
    paths = images["path"][:4]
    expected = sum(by_hand(folder, root, images[:4]).values()) / 3
    found = aigid.load(folder).predict([root / path for path in paths])
    np.testing.assert_allclose([it.score for it in found], expected, atol=1e-3)
    assert aigid.load(folder).predict(root / paths[0]).score == pytest.approx(found[0].score, abs=1e-6)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Files of the published names and form, of small towers and random weights; what each expert is."""
    how = settings(("siglip", "clip")).experts
    monkeypatch.setattr(importer, "KINDS", {kind: it.backbone.model_dump() for kind, it in how.items()})
    made = {}
    for number, kind in ((1, "clip"), (2, "clip"), (3, "siglip"), (4, "siglip")):
        made[f"{kind}_{number}"] = experts.build(how[kind].model_copy(update={"seed": number})).eval()
        state = experts.state_dict(made[f"{kind}_{number}"])
        torch.save({"model_state_dict": state} if number % 2 else state, tmp_path / f"Expert_{number}_{kind}.pth")
    return made


def bring(folder):
    return CliRunner().invoke(main, ["import", "featdistill", "--weights", str(folder), "--out", str(folder / "made")])


def test_published_checkpoints_become_a_bundle(published, root, images, tmp_path):
    """SigLIP summed first; half precision in the bundle."""
    done = bring(tmp_path)
    assert done.exit_code == 0, done.output
    assert "calibrated: false" in done.output
    made = load(tmp_path / "made").detector
    assert list(made.members) == ["siglip_3", "siglip_4", "clip_1", "clip_2"]
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        for name, member in made.members.items():
            torch.testing.assert_close(member.load().eval()(pixels), published[name](pixels), atol=1e-3, rtol=1e-2)
    found = aigid.load(tmp_path / "made").predict(root / images["path"][0])
    assert found.score == pytest.approx(
        sum(it[0] for it in by_hand(tmp_path / "made", root, images[:1]).values()) / 4, abs=1e-3
    )


def test_published_checkpoints_that_are_none_are_refused(published, tmp_path):
    (tmp_path / "Expert_2_clip.pth").write_bytes((tmp_path / "Expert_3_siglip.pth").read_bytes())
    done = bring(tmp_path)
    assert done.exit_code == 2
    assert "Expert_2_clip.pth: do not fit this model" in done.output
    (tmp_path / "Expert_2_clip.pth").unlink()
    assert "Expert_2_clip.pth: no such file; the ensemble has all four experts" in bring(tmp_path).output
    assert "name the folder of Expert_1_clip.pth" in bring(tmp_path / "nowhere").output
    assert not (tmp_path / "made").exists()
