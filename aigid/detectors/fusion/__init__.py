"""Several towers' embeddings of one image, brought together by a gate, side by side, or by their scores' mean."""
