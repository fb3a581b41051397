"""The transformer block that every network of GenDet is made of."""

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input; (B, n, width) to the same.

    The norm comes first so that the output keeps its length, which Eqs. 1, 3 and 4 measure.
    """

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, n, width) to (B, n, width)."""
        tokens = tokens + self._attend(self.norm_attention(tokens))
        return tokens + self.down(gelu(self.up(self.norm_feed(tokens))))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, num, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, num, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, num, width))
