"""Aligned fakes: reconstructions of real images that differ from them in the generator's traces alone."""
