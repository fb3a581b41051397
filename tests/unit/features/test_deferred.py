"""A backbone that was loaded once is known by its record, until anything that decides its embeddings changes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.files import cache_folder
from aigid.features import deferred
from aigid.features.backbones import BackboneSettings
from aigid.features.deferred import DeferredBackbone, load_backbone
from aigid.features.encoder import TorchBackbone
from aigid.features.extract import extract
from tests.helpers.images import grain_folder
from tests.helpers.tiny_models import SIGLIP

SETTINGS = BackboneSettings(library="transformers", model="tiny", config=SIGLIP, preprocess={"size": 32})
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


def record():
    (path,) = (cache_folder() / deferred.CACHE_KIND).iterdir()
    return path


def test_a_second_load_is_the_first_backbone():
    first = load_backbone(SETTINGS)
    second = load_backbone(SETTINGS)
    assert isinstance(first, TorchBackbone)
    assert isinstance(second, DeferredBackbone)
    for name in ("settings", "dim", "fingerprint", "weights_sha256", "weights_files"):
        assert getattr(second, name) == getattr(first, name)
    assert "_backbone" not in vars(second)  # so far nothing was loaded
    first.choose_batch(None, 3)
    second.choose_batch(None, 3, 256)
    np.testing.assert_array_equal(second.encode(IMAGES), first.encode(IMAGES))
    assert (second.batch, second.threaded, second.device_info) == (first.batch, first.threaded, first.device_info)


def test_another_setting_or_weights_is_another_record(tmp_path):
    load_backbone(SETTINGS)
    assert isinstance(load_backbone(SETTINGS.model_copy(update={"seed": 1})), TorchBackbone)
    weights = [tmp_path / "weights", tmp_path / "adapter"]
    settings = SETTINGS.model_copy(update={"weights": str(weights[0]), "adapter": str(weights[1])})
    paths = set()
    for file in [*weights, *weights]:
        for path in weights:
            path.touch()
        file.write_bytes(file.read_bytes() + b".")
        paths.add(deferred._record_path(settings))
    assert len(paths) == 4


def test_a_damaged_record_is_passed_over():
    load_backbone(SETTINGS)
    content = json.loads(record().read_text())
    content["record"]["dim"] = 7
    record().write_text(json.dumps(content))
    assert load_backbone(SETTINGS).dim == SIGLIP["hidden_size"]
    record().write_text("{")
    assert isinstance(load_backbone(SETTINGS), TorchBackbone)


def test_a_record_of_another_backbone_is_refused_and_removed():
    path = deferred._record_path(SETTINGS)
    load_backbone(SETTINGS.model_copy(update={"seed": 1}))
    record().rename(path)
    with pytest.raises(InputError, match="is of another tiny: removed; run again"):
        load_backbone(SETTINGS).encode(IMAGES)
    assert isinstance(load_backbone(SETTINGS), TorchBackbone)


def test_a_warm_cache_is_put_together_without_torch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grain_folder(tmp_path, 4, lambda number: f"{number}.png").to_csv("m.csv", index=False)
    again = f"""
import sys
from pathlib import Path
from aigid.core import manifest
from aigid.features.backbones import BackboneSettings
from aigid.features.extract import extract
settings = BackboneSettings.model_validate_json({SETTINGS.model_dump_json()!r})
extract(manifest.read(Path("m.csv")), Path("."), settings).write(Path("second.h5"))
sys.exit("torch" in sys.modules)
"""
    extract(manifest.read(Path("m.csv")), Path(), SETTINGS).write(tmp_path / "first.h5")
    assert subprocess.run([sys.executable, "-c", again], check=False).returncode == 0
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()
