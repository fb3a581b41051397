"""The forecast of an extraction: what is cached, what is missing, bytes as they then are, hours by hand."""

import json

import h5py
import pytest
from click.testing import CliRunner

from aigid.cli.main import main
from aigid.core import manifest
from aigid.features.backbones import backbone_settings
from aigid.features.cache_admin import estimate
from aigid.features.extract import extract
from tests.helpers.images import noise_folder


@pytest.fixture
def images(tmp_path):
    noise_folder(tmp_path, 30)
    return tmp_path


def test_rows_bytes_and_hours(images):
    table, tower = manifest.read(images / "m.csv"), backbone_settings("tiny_clip")
    extract(table.head(10), images, tower)
    found = estimate(table, images, {"tiny_clip": tower}, ["clean", "jpeg65"], rate=2.0)
    assert [(it.view, it.cached, it.missing) for it in found.lines] == [("clean", 10, 20), ("jpeg65", 0, 30)]
    assert found.lines[0].cache_bytes == 20 * (192 * 2 + 64)
    assert found.images == 30
    assert found.hours == pytest.approx(30 / 2 / 3600)
    extract(table, images, tower, ["clean", "jpeg65"]).write(images / "e.h5")
    with h5py.File(images / "e.h5") as file:
        assert file["views/clean"].nbytes == found.lines[0].file_bytes
    done = estimate(table, images, {"tiny_clip": tower}, ["clean", "jpeg65"])
    assert (done.images, done.hours, done.rate) == (0, 0.0, None)


def test_the_sample_is_part_of_the_work(images):
    command = ["plan", str(images / "m.csv"), "--root", str(images), "--backbone", "tiny_clip", "--sample", "8"]
    first = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert first["images"] == 30
    assert first["rate"] > 0
    assert first["hours"] == pytest.approx(30 / first["rate"] / 3600)
    second = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert second["lines"][0]["cached"] == 8
    assert second["images"] == 22


def test_what_a_person_reads(images):
    command = ["plan", str(images / "m.csv"), "--root", str(images), "--backbone", "tiny_clip", "--rate", "10"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0
    assert "30 images to read, at 10.0 a second and machine (as given)" in done.stderr
    refused = CliRunner().invoke(main, [*command[:-1], "0"])
    assert refused.exit_code == 2
