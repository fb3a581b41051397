"""Stage 2: the gate over the experts' features; the experts themselves are no part of what is trained."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from aigid.detectors.descent import adamw, epoch, generator, initialise
from aigid.detectors.gate import Gate
from aigid.detectors.sef.settings import FusionSettings

Features = Callable[[Tensor], Tensor]  # row numbers (B,) to the experts' features side by side (B, K x D)


class Fusion(nn.Module):
    """One linear layer on the gate's sum of K experts' features, side by side in (B, K x D)."""

    def __init__(self, num_experts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.gate = Gate(num_experts, width, hidden)
        self.out = nn.Linear(width, 1)

    def weights(self, features: Tensor) -> Tensor:
        """(B, K), rows summing to 1: how much each expert counts."""
        return self.gate.weights(features.split(self.width, dim=1))

    def logits(self, features: Tensor) -> Tensor:
        """(B,)."""
        return self.out(self.gate(features.split(self.width, dim=1))).squeeze(1)

    def forward(self, features: Tensor) -> Tensor:
        """P(generated), (B,)."""
        return self.logits(features).sigmoid()


class Concatenation(nn.Module):
    """The gate's control: one linear layer on all features side by side."""

    def __init__(self, num_experts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.out = nn.Linear(num_experts * width, 1)

    def logits(self, features: Tensor) -> Tensor:
        """(B,)."""
        return self.out(features).squeeze(1)

    def forward(self, features: Tensor) -> Tensor:
        """P(generated), (B,)."""
        return self.logits(features).sigmoid()


HEADS: dict[str, type[Fusion] | type[Concatenation]] = {"gate": Fusion, "concatenation": Concatenation}


def train(
    features: Features, y: Tensor, num_experts: int, width: int, settings: FusionSettings, seed: int, kind: str = "gate"
) -> Fusion | Concatenation:
    """A head of ``HEADS`` trained by cross-entropy on labels (N,); the gate starts as the plain mean.

    ``features`` may look into a cache or run the experts, on the device of ``y``.
    """
    head = initialise(HEADS[kind](num_experts, width, settings.hidden), generator("sef", kind, seed))
    if isinstance(head, Fusion):
        head.gate.start_as_mean()
    head, y = head.to(y.device), y.float()
    optimizer, draw = adamw(head, settings.lr, settings.weight_decay), generator("sef rows", seed)

    def loss(rows: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(head.logits(features(rows)), y[rows])

    for _ in range(settings.epochs):
        epoch(optimizer, loss, len(y), settings.batch_size, draw, y.device)
    return head.requires_grad_(False)
