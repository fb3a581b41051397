"""Configurations of small towers that every test of embeddings shares."""

import numpy as np

CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {"layers": 1, "width": 16, "heads": 2, "context_length": 4, "vocab_size": 16},
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
CLIP_VISION = SIGLIP | {"model_type": "clip_vision_model", "projection_dim": 24}
DINOV2 = SIGLIP | {"model_type": "dinov2", "mlp_ratio": 2}


def images(n=3):
    """(n, 32, 32, 3) uint8, each another."""
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
