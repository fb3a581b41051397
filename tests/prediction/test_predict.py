"""A verdict on an image: equal to the pipeline's score, one by one or together; unreadable images are named."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import aigid
from aigid import tables
from aigid.cli import main


def call(*arguments, **options):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], **options)


def test_scores_are_the_pipelines_one_by_one_or_together(made):
    folder, expected = made
    bundle = aigid.load(folder / "bundle")
    paths = [folder / "images" / name for name in expected.index]
    together = [found.score for found in bundle.predict(paths)]
    alone = [bundle.predict(path).score for path in paths]
    opened = [bundle.predict(Image.open(path)).score for path in paths]
    for found in (together, alone, opened):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_json_is_one_object_a_line_and_nothing_else_on_stdout(made):
    folder, expected = made
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    done = call(folder / "images", folder / "broken.png", "--model", folder / "bundle", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert len(found) == 48 + 1
    by_name = {row["path"].rsplit("/", 1)[-1]: row for row in found}
    for name, value in expected.items():
        assert by_name[name]["score"] == pytest.approx(value, abs=1e-6)
    assert by_name["broken.png"]["status"] != "ok"
    assert "broken.png" in done.stderr


def test_the_scores_file_of_a_manifest_can_be_judged(made, tmp_path):
    folder, _ = made
    out = tmp_path / "scores.csv"
    done = call(folder / "m.csv", "--root", folder / "images", "--model", folder / "bundle", "--csv", out)
    assert done.exit_code == 0, done.stderr
    assert len(tables.read(out, ())) == 48
    judged = CliRunner().invoke(main, ["evaluate", str(out), "--json"])
    assert judged.exit_code == 0, judged.stderr
    assert json.loads(judged.stdout)["auroc"] > 0.9


def test_a_list_on_stdin(made):
    folder, expected = made
    done = call("-", "--model", folder / "bundle", "--json", input=f"{folder / 'images' / expected.index[0]}\n")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["score"] == pytest.approx(expected.iloc[0], abs=1e-6)


def test_a_small_image_is_never_more_than_uncertain(made, tmp_path):
    folder, _ = made
    Image.new("RGB", (20, 20), (90, 120, 40)).save(tmp_path / "icon.png")
    found = json.loads(call(tmp_path / "icon.png", "--model", folder / "bundle", "--json").stdout)
    assert found["verdict"] == "uncertain"
    assert found["reasons"]


@pytest.mark.parametrize("name", ["model.json", "validation.csv"])
def test_a_changed_byte_is_refused(made, name):
    folder, expected = made
    path = folder / "bundle" / name
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b"0", b"1", 1))
        done = call(folder / "images" / expected.index[0], "--model", folder / "bundle")
        assert done.exit_code == 2
        assert name in done.stderr
    finally:
        path.write_bytes(before)


def test_mistakes_are_one_line(made, tmp_path):
    folder, _ = made
    for arguments, told in (
        ([tmp_path / "nosuch.jpg", "--model", folder / "bundle"], "nosuch.jpg"),
        ([tmp_path, "--model", folder / "bundle"], str(tmp_path)),
        ([folder / "images", "--model", tmp_path], "no bundle"),
    ):
        done = call(*arguments)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert told in done.stderr.strip().splitlines()[-1]
