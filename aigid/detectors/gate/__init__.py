"""Feature vectors of several backbones combined: by a gate, by concatenation, or by the mean of their scores."""
