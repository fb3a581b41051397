"""Image generators: the demo's small ones, autoencoders and super-resolution networks."""
