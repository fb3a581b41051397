"""clip-cues' linear probes (arXiv 2602.12381): on CLIP ViT-L/14-336, before its projection."""

from aigid.detectors.base.models import Model
from aigid.features.backbones import BackboneSettings, resolve
from aigid.importers import linear
from aigid.importers.registry import Request

WIDTH = 1024
SOURCE = "clip-cues, a linear probe (marco-willi/clip-cues)"
LICENCES = ["head: MIT", "training data: as its authors state for each checkpoint", "weights: OpenAI CLIP, MIT"]


def bring(request: Request) -> Model:
    """The probe, with the authors' preprocessing: the shorter side to 336 px bilinearly, the centre cut out."""
    what = "one of data/checkpoints/linear_probe_*.ckpt of its repository"
    probe = linear.head(request.weights, what, "model.classification_head.fc.", WIDTH)
    return linear.bundle(probe, request, published(), SOURCE, LICENCES)


def published() -> BackboneSettings:
    """CLIP ViT-L/14-336 as its feature extractor feeds it."""
    return resolve("clip_vit_l14_336_before_projection", {"preprocess": {"size": 336, "interpolation": "bilinear"}})
