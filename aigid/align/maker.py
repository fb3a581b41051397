"""The contract of what makes fakes of photographs."""

from typing import Protocol

from torch import Tensor, nn


class Maker(Protocol):
    """A frozen generator, an ``nn.Module``, whose fakes show what the photographs show, at the same places.

    ``architecture`` and the tensors of ``network`` decide what it does, as far as the seed does not.
    """

    network: nn.Module
    multiple: int  # px; of height and width
    architecture: dict[str, object]

    def __call__(self, photographs: Tensor, digests: list[str]) -> Tensor:
        """(B, 3, H, W) in [0, 1] to their fakes, also about [0, 1]; chance depends on the photographs' sha256 alone."""
