"""A linear probe on pretrained encoders tells photographs from Stable Diffusion's images, where a folder has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import aigid
from aigid.features import weights
from aigid.features.backbones import backbone_settings, open_backbone
from aigid.features.preprocess import resize_and_crop
from aigid.images.decode import decode

FOLDER = Path(__file__).resolve().parents[3] / "shared/data/photos_dev"
PHOTOS = FOLDER.with_name("photos")
MAX_HAMMING = 10  # of 64 bits


def near_duplicates(paths):
    """A number for each image, equal for those whose difference hashes are near."""
    thumbnails = [np.asarray(Image.open(path).convert("L").resize((9, 8)), np.int16) for path in paths]
    bits = np.array([(np.diff(thumbnail, axis=1) > 0).ravel() for thumbnail in thumbnails])
    distances = (bits[:, None] != bits[None]).sum(axis=2)
    return connected_components(distances <= MAX_HAMMING)[1]


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the photographs are not part of this repository")
@pytest.mark.parametrize(("name", "least"), [("clip_vit_b16_int8", 0.97), ("efficientnet_lite0", 0.96)])
def test_auroc_of_a_probe_in_five_grouped_folds(name, least, users_weights):
    if not weights.WHEEL_FILES[name].path.exists():
        pytest.skip(f"no weights; aigid weights fetch {name}")
    table = pd.read_csv(FOLDER / "manifest.csv")
    assert len(table) == 400
    settings = backbone_settings(name)
    backbone, rows = open_backbone(settings, 8), []
    for start in range(0, len(table), 8):
        contents = [(FOLDER / path).read_bytes() for path in table["path"][start : start + 8]]
        squares = [resize_and_crop(decode(content), settings.preprocess) for content in contents]
        rows.append(backbone.encode(np.stack(squares)))
    x, y = np.concatenate(rows), (table["label"] == "fake").to_numpy(int)
    groups = near_duplicates([FOLDER / path for path in table["path"]])
    score = np.zeros(len(y))
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, y, groups):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(x[train], y[train])
        score[test] = probe.decision_function(x[test])
    auroc = roc_auc_score(y, score)
    print(f"{name}: AUROC {auroc:.4f}, {groups.max() + 1} groups")
    assert auroc >= least


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photographs are not part of this repository")
def test_the_packages_own_detector_on_generators_that_it_never_saw(users_weights):
    """Test split: its AUROC as in its card, of all fakes and of those of ten generators that are in test alone."""
    if not weights.WHEEL_FILES["clip_vit_b16_int8"].path.exists():
        pytest.skip("no weights; aigid weights fetch clip_vit_b16_int8")
    table = pd.read_csv(PHOTOS / "manifest.csv")
    test = table[table["split"] == "test"].reset_index(drop=True)
    predictions = aigid.load().predict([PHOTOS / path for path in test["path"]])
    score = np.array([prediction.score for prediction in predictions])
    unseen = (test["label"] == 0) | ~test["generator"].isin(table["generator"][table["split"] != "test"])
    assert roc_auc_score(test["label"], score) >= 0.98
    assert roc_auc_score(test["label"][unseen], score[unseen]) >= 0.985
    for prediction in predictions:
        assert prediction.verdict == "uncertain" or (prediction.verdict == "generated") == (
            prediction.probability > 0.5
        )
