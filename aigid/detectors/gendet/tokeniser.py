"""A feature vector as a few tokens."""

from torch import Tensor, nn


class Tokeniser(nn.Module):
    """(B, dim) to (B, num_tokens, width): one linear map, cut into tokens; the bias of each is its learned place.

    The paper gives the width, 196, and no tokens; four of them make attention mean something.
    """

    def __init__(self, dim: int, num_tokens: int, width: int) -> None:
        super().__init__()
        self.shape = (num_tokens, width)
        self.linear = nn.Linear(dim, num_tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, num_tokens, width)."""
        return self.linear(x).view(-1, *self.shape)
