"""Networks so small that a test can train them, and their configurations."""

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 4],
    "layers_per_block": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "mid_block_add_attention": False,
}
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


def autoencoder(**changes) -> AutoencoderKL:
    """A random one that halves three times, as Stable Diffusion's does."""
    shape = {
        "block_out_channels": (4, 4, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "norm_num_groups": 2,
    }
    torch.manual_seed(0)
    return AutoencoderKL(**shape | changes)


class Texts:
    """Stands for CLIP's text side: a text is the mean of its prompt's tokens."""

    scale, context_length, device = 10.0, 8, torch.device("cpu")

    def __init__(self, dim):
        self.dim = dim

    def embed(self, words):
        named = (torch.full((1, self.dim), float(len(word))) for word in words)
        return [torch.zeros(1, self.dim), *named, torch.zeros(2, self.dim)]

    def encode(self, prompts, ends):
        lengths = torch.tensor(ends, device=prompts.device)[:, None] + 1
        return functional.normalize(prompts.sum(dim=1) / lengths, dim=1)
