"""A bundle through a stand-in of the hub and back: its card, its commit, its hashes, and what is refused."""

import json

import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import constants
from PIL import Image

import aigid
from aigid.cli.main import main
from aigid.core.errors import InputError
from aigid.detectors import bundle as bundles
from aigid.prediction import hub
from tests.helpers import hub_server


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub_server.serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_bundle_goes_to_the_hub_and_judges_from_there(bundle, server, tmp_path):
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / "photo.png")
    pushed = run("push", bundle, "hf://me/detector")
    assert pushed.exit_code == 0, pushed.output
    address = pushed.stdout.strip()
    (sha,) = server.commits["me/detector"]
    assert address == f"hf://me/detector@{sha}"
    files = server.commits["me/detector"][sha]
    assert set(files) == {"model.json", "README.md", *json.loads((bundle / "model.json").read_text())["files"]}
    found = aigid.load(address).predict(tmp_path / "photo.png")
    assert found == aigid.load(bundle).predict(tmp_path / "photo.png")
    del server.requests[:]
    judged = run("predict", tmp_path / "photo.png", "--model", address, "--json")
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["score"] == found.score
    assert not server.requests, "a commit that is here needs no network"


def test_the_card_has_the_hubs_front_matter(bundle):
    text = hub.card(bundles.load(bundle), "me/detector", licence="mit")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "mit"
    assert front["library_name"] == "aigid"
    assert front["pipeline_tag"] == "image-classification"
    assert {"aigid", "probe"} <= set(front["tags"])
    assert front["datasets"] == ["d"]
    (index,) = front["model-index"]
    (result,) = index["results"]
    assert (index["name"], result["dataset"]["split"]) == ("detector", "validation")
    assert {metric["type"] for metric in result["metrics"]} == set(front["metrics"]) == {"roc_auc", "average_precision"}
    assert all(0 <= metric["value"] <= 1 for metric in result["metrics"])
    other = yaml.safe_load(hub.card(bundles.load(bundle), "me/detector", "# Mine\n").split("---\n")[1])
    assert (other["license"], other["license_name"]) == ("other", "see-below")


def test_what_the_hub_may_do_wrong_is_one_line(bundle, server, monkeypatch):
    hub.push(bundle, "hf://me/detector")
    (sha,) = server.commits["me/detector"]
    files = server.commits["me/detector"][sha]
    server.refs["me/detector"]["v1"] = sha
    hub.local("hf://me/detector@v1")
    changed = server.commit("me/detector", files | {"weights.safetensors": b"other"})
    server.refs["me/detector"]["v1"] = changed
    for address, message in {
        "hf://me/detector@v1": f"was at {sha} when it was loaded before, and is now at {changed}; to take",
        "hf://me/detector": "weights.safetensors is not the file that model.json names",
        "hf://me/detector@v2": "the repository has no such revision",
        "hf://me/nothing": "no such repository",
        "hf://detector": "no address of a bundle",
    }.items():
        for _ in range(2):  # a refusal leaves nothing behind that is taken for the bundle
            with pytest.raises(InputError, match=message) as caught:
                hub.local(address)
            assert "\n" not in str(caught.value)
            assert str(caught.value).startswith(address)
    hostile = json.dumps({"files": {"../../x": "0" * 64}}).encode()
    server.commit("me/detector", {"model.json": hostile})
    with pytest.raises(InputError, match=r"'\.\./\.\./x' does not lie in the bundle"):
        hub.local("hf://me/detector")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert run("push", bundle, "hf://me/detector").exit_code == 2
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^hf://me/detector@main: "):
        hub.local("hf://me/detector@main")
