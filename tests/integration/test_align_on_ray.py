"""What Ray's actor of alignment does, called without a cluster: the fakes of everybody else, or one line why not."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from aigid.aligned import engine
from aigid.aligned.engine import FakeBatcher
from aigid.aligned.generator import AlignSettings, load_generator
from aigid.core.cache import CacheEntry
from aigid.core.errors import InputError
from tests.helpers.images import crops
from tests.helpers.tiny_models import autoencoder

NUM = 3


@pytest.fixture
def order(tmp_path, monkeypatch):
    """What the driver sends with the photographs, by name, once its own shelf is there."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for number, picture in enumerate(crops(NUM, 32, 40)):
        Image.fromarray(picture).save(tmp_path / f"images/{number}.png")
    autoencoder().save_pretrained(tmp_path / "vae")
    settings = AlignSettings(domain="vae", weights=str(tmp_path / "vae"))
    fakes = FakeBatcher(load_generator(settings), settings, torch.device("cpu"))
    return {"settings": settings, "root": tmp_path / "images", "metadata": fakes.metadata, "entry": fakes.entry,
            "aigid": version("aigid")}  # fmt: skip


def made(order, paths):
    return engine.GeneratorActor(*order.values(), 1)(pd.DataFrame({"path": paths}))


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def other_weights(order, tmp_path):
    torch.manual_seed(1)
    changed = autoencoder()
    torch.nn.init.normal_(changed.decoder.conv_out.bias)
    changed.save_pretrained(tmp_path / "other")
    return {"settings": order["settings"].model_copy(update={"weights": str(tmp_path / "other")})}


def other_seed(order, _):
    return {"settings": order["settings"].model_copy(update={"seed": 1})}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda *_: {"aigid": "0.0.1"}, r"has aigid \S+, this machine 0\.0\.1"),
        (lambda *_: {"entry": CacheEntry(Path("/nosuch"))}, r"does not see /nosuch; \$AIGID_CACHE must be a folder .*"),
        (other_weights, "its generator of vae is not that of this machine"),
        (other_seed, "its generator of vae is not that of this machine"),
    ],
    ids=["version", "shelf", "weights", "seed"],
)
def test_a_worker_that_would_make_something_else_is_refused(order, fault, told, tmp_path):
    wrong, before = order | fault(order, tmp_path), files(tmp_path / "cache")
    with pytest.raises(InputError, match=rf"^worker \S+: {told}$") as caught:
        made(wrong, ["0.png"])
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "cache") == before
    assert not Path("/nosuch").exists()


def test_it_fills_the_shelf_that_it_is_given_and_counts(order, tmp_path):
    (tmp_path / "images/broken.png").write_bytes(b"no image")
    found = made(order, ["0.png", "broken.png", "1.png"])
    assert found[["num", "made"]].to_numpy().tolist() == [[3, 2]]
    assert list(json.loads(found["unread"][0])) == ["broken.png"]
    fakes = list(order["entry"].folder.glob("*/*.png"))
    assert len(fakes) == 2
    assert np.asarray(Image.open(fakes[0])).shape == (32, 40, 3)
    assert made(order, [f"{number}.png" for number in range(NUM)])["made"].tolist() == [1]
