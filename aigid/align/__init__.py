"""Aligned fakes: what a generator makes of a photograph, alike in all but the generator's traces."""
