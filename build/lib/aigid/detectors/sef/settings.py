"""What can be chosen of the experts and their fusion; the defaults are DDA's where SEF's abstract says nothing."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from aigid.core.params import Precision, Settings, divides
from aigid.features.backbones import LoraSettings

Count = Annotated[int, Field(ge=1)]
Divisor = Annotated[int, Field(ge=1, validate_default=True), divides("batch_size")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
EXPERTS = {"vae": ("vae",), "gan": ("gan",), "both": ("vae", "gan")}  # the domains each learns from; both: naive mix


class SamplingSettings(Settings):
    """How a pair becomes a batch. Shares are of the pairs."""

    # Ranges of factors; each adds the pair once more, resized by a filter of its own: there are six.
    scales: Annotated[tuple[tuple[Positive, Positive], ...], Field(max_length=6)] = ((0.2, 1.0), (1.0, 3.5))
    policy: str = "dda"  # of the augmentation, one draw for all members
    quality: Share = 0.5  # whose fake is compressed as its photograph was
    pixel_mix: Share = 0.2
    dct_mix: Share = 0.2
    max_mix: Share = 0.8

    @field_validator("scales")
    @classmethod
    def _from_low_to_high(cls, scales: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for low, high in scales:
            if low > high:
                raise ValueError(f"want factors from low to high, found {low:g} to {high:g}")
        return scales


class FusionSettings(Settings):
    """Stage 2: the gate, and a linear classifier of the gated sum."""

    hidden: Count = 256  # of the gate's own layer
    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("clean",)  # of the aligned images that it learns from
    epochs: Count = 1
    learning_rate: Positive = 1e-4
    batch_size: Count = 48
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class ExpertSettings(Settings):
    """Stage 1, once a domain."""

    backbone: str = "dinov2_vit_l14_dda"  # a name in aigid/features/backbones.py
    weights: str | None = None  # a local file or folder, instead of the hub's
    lora: LoraSettings = LoraSettings()
    sampling: SamplingSettings = SamplingSettings()
    batch_size: Count = 8  # pairs a step; each gives two images, and two more for each of ``sampling.scales``
    contrastive_batch_size: Divisor = 2  # pairs whose images the contrastive loss compares; divides ``batch_size``
    epochs: Count = 1
    learning_rate: Positive = 1e-4
    lora_learning_rate: Positive | None = None  # of the adapters, where it differs; DDA's is in effect twice its head's
    t_max: Count = 1000  # steps of the cosine from the learning rate to ``eta_min``; after it, it rises again
    eta_min: Annotated[float, Field(ge=0)] = 1e-7
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    contrastive_weight: Share = 0.5  # of the loss; the rest is cross-entropy
    margin: Positive = 1.0
    head_bias: Literal["zero", "uniform"] = "zero"  # at the start; uniform: torch's default, as DDA leaves it
    precision: Precision = "auto"
    gradient_checkpointing: bool = False  # less memory, one more forward pass


class SefSettings(Settings):
    """Both stages: a change of the second trains no expert again."""

    expert: ExpertSettings = ExpertSettings()
    fusion: FusionSettings = FusionSettings()

    @property
    def views(self) -> tuple[str, ...]:
        """What is learnt from."""
        return self.fusion.views


DetectorSettings = SefSettings
