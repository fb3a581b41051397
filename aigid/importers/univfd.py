"""UniversalFakeDetect's linear head (Ojha et al., CVPR 2023): `fc_weights.pth` on CLIP ViT-L/14, after projection."""

from aigid.detectors.bundle import Bundle
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.importers import linear
from aigid.importers.base import ImportRequest

WIDTH = 768
SOURCE = "UniversalFakeDetect, Ojha et al. 2023 (WisconsinAIVision/UniversalFakeDetect)"
LICENCES = ["head: MIT", "trained on ForenSynths' ProGAN and LSUN images: CC BY-NC-SA 4.0", "weights: OpenAI CLIP, MIT"]


def import_detector(request: ImportRequest) -> Bundle:
    """The head, with the authors' own preprocessing: the centre 224 px, unscaled."""
    probe = linear.head(request.weights, "pretrained_weights/fc_weights.pth of its repository", "", WIDTH)
    return linear.write_bundle(probe, request, published(), SOURCE, LICENCES)


def published() -> BackboneSettings:
    """CLIP ViT-L/14 as `validate.py` feeds it."""
    return backbone_settings("clip_vit_l14", {"preprocess": {"size": 224, "resize": "none"}})
