"""AEROBLADE (Ricker et al., CVPR 2024), NYCU's training-free baseline: how well autoencoders give an image back."""
