"""Small experts and a dataset that they can learn in a moment, for every test of FeatDistill."""

import hashlib

import numpy as np
import pandas as pd
from PIL import Image

from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings

SIGLIP = {
    "library": "transformers",
    "model": "tiny",
    "config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    },
    "preprocess": {"size": 16, "mean": [0.5] * 3, "std": [0.5] * 3},
}
CLIP = SIGLIP | {
    "config": SIGLIP["config"] | {"model_type": "clip_vision_model", "projection_dim": 12},
    "preprocess": {"size": 16},
}
OPEN_CLIP = {
    "library": "open_clip",
    "model": "tiny",
    "config": {
        "embed_dim": 12,
        "vision_cfg": {"layers": 2, "width": 16, "head_width": 8, "patch_size": 4, "image_size": 16},
        "text_cfg": {"layers": 1, "width": 16, "heads": 2, "context_length": 4, "vocab_size": 16},
    },
    "preprocess": {"size": 16},
}
EFFICIENTNET = {"library": "timm", "model": "test_efficientnet", "config": {}, "preprocess": {"size": 16}}
TOWERS = {"siglip": SIGLIP, "clip": CLIP, "open_clip": OPEN_CLIP, "efficientnet": EFFICIENTNET}
STAGED = {  # small copies of the rest of the paper's Table 2 whose features are maps
    "resnet_clip": ("test_resnet", {}),
    "convnext": ("test_convnext2", {}),
    "swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 2}),
}
STAGED = {
    kind: {"library": "timm", "model": model, "config": config, "preprocess": {"size": 32}}
    for kind, (model, config) in STAGED.items()
}


def expert(kind="siglip", seed=0):
    """The settings of one."""
    return ExpertSettings(backbone=(TOWERS | STAGED)[kind], seed=seed)


def settings(experts=("siglip",), **changes):
    """Two short stages."""
    how = {"epochs": 2, "batch_size": 8, "encoder_learning_rate": 1e-3, "head_learning_rate": 1e-3}
    stages = {stage: how | changes.pop(stage, {}) for stage in ("stage1", "stage2")}
    data = {"max_val_images": 16} | changes.pop("data", {})
    named = {kind: {"backbone": (TOWERS | STAGED)[kind], "seed": number} for number, kind in enumerate(experts)}
    return FeatDistillSettings(dataset="toy", experts=named, data=data, **stages, **changes)


def dataset(root, num=12):
    """A manifest of ``num`` photographs and fakes in each split: noise, and noise that is twice as bright."""
    rows, rng = [], np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in (0, 1):
            for number in range(num):
                path = f"{split}_{label}_{number}.png"
                pixels = rng.integers(0, 120, (20, 24, 3)) * (1 + label)
                Image.fromarray(pixels.astype(np.uint8)).save(root / path)
                digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
                rows.append((path, label, "toy" if label else "real", split, digest))
    return pd.DataFrame(rows, columns=["path", "label", "generator", "split", "sha256"])
