"""A text tower that needs no CLIP."""

import torch
from torch.nn import functional


class Texts:
    """Stands for CLIP's text side: a text is the mean of its prompt's tokens."""

    scale, context_length = 10.0, 8

    def __init__(self, dim):
        self.dim = dim

    def embed(self, words):
        named = (torch.full((1, self.dim), float(len(word))) for word in words)
        return [torch.zeros(1, self.dim), *named, torch.zeros(2, self.dim)]

    def encode(self, prompts, ends):
        lengths = torch.tensor(ends)[:, None] + 1
        return functional.normalize(prompts.sum(dim=1) / lengths, dim=1)
