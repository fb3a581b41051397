"""Configurations of networks so small that a test can train them."""

VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 4],
    "layers_per_block": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "mid_block_add_attention": False,
}
