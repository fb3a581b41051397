"""A bundle in torch: its scores are the bundle's, its slopes are finite differences, and what has none is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from aigid.core.errors import InputError
from aigid.detectors.gate import GatedFusion, GatedHead
from aigid.detectors.knn import KNearestNeighbors
from aigid.detectors.occ import Detector as Occ
from aigid.detectors.probe import LinearProbe
from aigid.detectors.samples import LabeledEmbeddings
from aigid.detectors.stacking import Stacking
from aigid.detectors.svm.detector import KernelSvm
from aigid.features.backbones import BackboneSettings
from aigid.prediction.differentiable import differentiable_encoder, differentiable_logit, head_function
from aigid.prediction.predict import Predictor

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 2
NAMES = np.where(LABELS == 1, np.where(np.arange(60) % 4 == 1, "adm", "glide"), "real")
X = (RNG.normal(size=(60, 12)) + LABELS[:, None]).astype(np.float32)
ROWS = LabeledEmbeddings(X, LABELS, np.array([f"{i}" for i in range(60)]), (12,), NAMES)
COMMON = {"backbone": "b", "dataset": "d"}
SVM = {"target": "label", "scaling": "standard", "c": 1.0, "gamma": "scale"}
MEMBERS = {"p": {"detector": "probe", "c": 1.0}, "s": {"detector": "svm"} | SVM | {"num_components": 5}}
HEADS = {
    "probe": (LinearProbe, {"c": 1.0}),
    "knn": (KNearestNeighbors, {"k": 3}),
    "svm": (KernelSvm, SVM),
    "unit_svm": (KernelSvm, SVM | {"scaling": "unit", "gamma": 1.0}),
    "stacking": (Stacking, {"members": MEMBERS, "weights_from": "val"}),
}


def gate():
    """A gate over two encoders, of first weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GatedFusion(GatedHead([5, 7], 4, 4), {})


def fit(kind, section):
    return kind.fit(kind.Settings(**COMMON, **section), ROWS, ROWS, 0)


@pytest.mark.parametrize("name", [*HEADS, "gate"])
def test_a_head_in_torch_scores_and_slopes_as_the_detector(name):
    detector = fit(*HEADS[name]) if name in HEADS else gate()
    head, x = head_function(detector, name), torch.from_numpy(X[:5]).requires_grad_()
    scores = head(x)
    assert scores.detach().numpy() == pytest.approx(detector.p_generated(X[:5]), abs=1e-5)
    (slopes,) = torch.autograd.grad(scores.sum(), x)
    step = 1e-2 * RNG.normal(size=X[:5].shape).astype(np.float32)
    expected = (detector.p_generated(X[:5] + step) - detector.p_generated(X[:5] - step)) / 2
    assert np.abs(expected).max() > 1e-4
    assert (slopes.numpy() * step).sum(axis=1) == pytest.approx(expected, rel=0.02, abs=2e-5)


def test_detectors_without_gradients_are_refused():
    hard = fit(KernelSvm, {"scaling": "standard", "c": 1.0, "gamma": 0.1})
    for name, detector in (("svm", hard), ("occ", object.__new__(Occ))):
        with pytest.raises(InputError, match=rf"detector {name}: has no gradients; attack it by transfer: `sources`"):
            head_function(detector, name)


def test_an_encoder_without_a_copy_in_torch_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    settings = {"library": "onnx", "model": "somebody/encoder", "weights": str(tmp_path / "a.onnx")}
    with pytest.raises(InputError, match=r"somebody/encoder: no gradients: .*; attack it by transfer from another"):
        differentiable_encoder(BackboneSettings.model_validate(settings | {"preprocess": {"size": 32}}))
    crop = BackboneSettings.model_validate("tiny_clip")
    crop = crop.model_copy(update={"preprocess": crop.preprocess.model_copy(update={"resize": "none"})})
    with pytest.raises(InputError, match="an image of 20 x 40: its border to 32 px has no gradient"):
        differentiable_encoder(crop)([torch.zeros(40, 20, 3)])


def test_the_logit_of_pixels_is_the_bundles_and_slopes_by_finite_differences(pipeline, bundle):
    """Of images of two sizes, through resizing, encoder and head: what it rises by along its gradient is its length."""
    predictor = Predictor(bundle)
    logit = differentiable_logit(predictor)
    files = sorted((pipeline[0] / "images").iterdir())[:2]
    pixels = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    pixels[1] = np.ascontiguousarray(np.tile(pixels[1], (2, 2, 1))[:70, :100])
    images = [torch.from_numpy(image.astype(np.float32)).requires_grad_() for image in pixels]
    values = logit(images)
    scores = [predictor.predict(image).score for image in pixels]
    assert torch.sigmoid(values).detach().numpy() == pytest.approx(scores, abs=0.02)
    slopes = torch.autograd.grad(values.sum(), images)
    for number, slope in enumerate(slopes):
        step = slope * (0.3 / slope.abs().max())
        ends = [[image.detach() for image in images] for _ in range(2)]
        for side, sign in zip(ends, (1, -1), strict=True):
            side[number] = (side[number] + sign * step).clamp(0, 255)
        with torch.no_grad():
            risen = logit(ends[0]) - logit(ends[1])
        expected = (slope * (ends[0][number] - ends[1][number])).sum()
        assert risen[number].item() == pytest.approx(expected.item(), rel=0.03)
        assert risen[1 - number].item() == pytest.approx(0, abs=1e-5)
