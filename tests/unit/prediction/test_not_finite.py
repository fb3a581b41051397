"""A model that answers NaN: a status and no verdict in the table, in JSON and in CSV; exit status 1."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from aigid.cli.main import main
from aigid.core import scores, tables
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.detectors.probe import LinearProbe
from aigid.detectors.protocol import NOT_FINITE, Scores, blank_not_finite
from aigid.importers import ImportRequest, get_importer
from aigid.metrics import decisions
from tests.helpers.images import noise_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images, and a bundle of finite weights whose logits overflow."""
    place = tmp_path_factory.mktemp("overflow")
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                       image_size=16, patch_size=4, id2label={0: "real", 1: "fake"})  # fmt: skip
    net = ViTForImageClassification(config)
    net.classifier.weight.data.fill_(3e38)
    net.save_pretrained(place / "hub")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(place / "hub")
    request = ImportRequest(model=str(place / "hub"), fake_labels=("fake",))
    bundle.save(get_importer("hf")(request), place / "bundle")
    (place / "images").mkdir()
    noise_folder(place / "images", 2)
    (place / "images/m.csv").unlink()
    return place


def predict(folder, *options):
    return CliRunner().invoke(main, ["predict", str(folder / "images"), "--model", str(folder / "bundle"), *options])


def test_json(folder):
    result = predict(folder, "--json")
    assert result.exit_code == 1
    for line in result.stdout.splitlines():
        found = json.loads(line, parse_constant=pytest.fail)
        assert found["status"] == NOT_FINITE
        assert found["error"] == "the model answers nan in view clean"
        assert not {"verdict", "score", "probability"} & found.keys()


def test_table_and_csv(folder, tmp_path):
    result = predict(folder)
    assert result.exit_code == 1
    assert result.stdout.count("not_finite: the model answers nan") == 2
    assert not {"real", "generated", "nan%"} & set(result.stdout.split())
    assert predict(folder, "--csv", str(tmp_path / "out.csv")).exit_code == 1
    table = tables.read(tmp_path / "out.csv", ())
    assert table["status"].tolist() == [NOT_FINITE] * 2
    assert (table[["score", "probability", "verdict"]] == "").all(axis=None)
    scores.validate(table.assign(label=[0, 1], generator="x"), "out.csv")


def test_the_images_beside_it_keep_their_scores():
    values = {"a": np.array([0.1, np.nan, np.nan, 0.4]), "b": np.array([[1, 0], [1, 0], [0, 1], [0, np.inf]], float)}
    found = blank_not_finite(Scores(np.array([OK, "missing", OK, OK], object), values, {1: "gone"}))
    assert found.status.tolist() == [OK, "missing", NOT_FINITE, NOT_FINITE]
    assert found.messages == {1: "gone", 2: "the model answers nan in view a", 3: "the model answers inf in view b"}
    assert found.values["a"][0] == 0.1
    assert np.isnan(found.values["a"][2:]).all()
    assert np.isnan(found.values["b"][2:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_heads_and_calibrators_of_no_numbers_are_refused(tmp_path, value):
    save_file({"weight": np.array([1.0, value]), "bias": np.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="a linear head of NaN or infinity"):
        LinearProbe.load(tmp_path, {})
    torch.save({"weight": torch.full((1, 768), float(value)), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    with pytest.raises(InputError, match="a linear head of NaN or infinity"):
        get_importer("univfd")(ImportRequest(weights=tmp_path / "head.pth"))
    point = {"threshold": 0.5, "fpr": 0, "fpr_bound": 0, "tpr": 1, "num_real": 3}
    limits = {"highest_real": 0.5, "lowest_fake": 0.5, "alpha": 0.1}
    for weight, threshold in ((value, 0.5), (1.0, value)):
        calibrator = {"kind": "platt", "parameters": {"weights": [weight, 0.0]}, "population": {}}
        rule = {"calibrator": calibrator, "operating_point": point | {"threshold": threshold}, "abstainer": limits}
        (tmp_path / "rule.json").write_text(json.dumps(rule))
        with pytest.raises(InputError, match="a number of it is NaN or infinite"):
            decisions.load(tmp_path / "rule.json")
