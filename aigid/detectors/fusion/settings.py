"""What can be chosen of the gate and its controls."""

from typing import Annotated

from pydantic import Field

from aigid.base.params import Settings

Count = Annotated[int, Field(ge=1)]


class FusionSettings(Settings):
    """Each tower is mapped to ``width`` numbers; ``hidden`` is the gate's own layer."""

    backbone: str
    train: str
    width: Count
    hidden: Count
    epochs: Count
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    batch_size: Count
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
