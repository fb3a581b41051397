"""clip-cues' linear probes (arXiv 2602.12381): on CLIP ViT-L/14-336, before its projection."""

from aigid.detectors.bundle import Bundle
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.importers import linear
from aigid.importers.base import ImportRequest

WIDTH = 1024
SOURCE = "clip-cues, a linear probe (marco-willi/clip-cues)"
LICENCES = ["head: MIT", "training data: as its authors state for each checkpoint", "weights: OpenAI CLIP, MIT"]


def import_detector(request: ImportRequest) -> Bundle:
    """The probe, with the authors' preprocessing: the shorter side to 336 px bilinearly, the centre cut out."""
    what = "one of data/checkpoints/linear_probe_*.ckpt of its repository"
    probe = linear.head(request.weights, what, "model.classification_head.fc.", WIDTH)
    return linear.write_bundle(probe, request, published(), SOURCE, LICENCES)


def published() -> BackboneSettings:
    """CLIP ViT-L/14-336 as its feature extractor feeds it."""
    return backbone_settings(
        "clip_vit_l14_336_before_projection", {"preprocess": {"size": 336, "interpolation": "bilinear"}}
    )
