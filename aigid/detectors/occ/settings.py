"""Every number of OCC-CLIP."""

from typing import Annotated, Literal

from pydantic import Field

from aigid.base.params import Settings


class OccSettings(Settings):
    """NYCU's values are the defaults."""

    backbone: str  # an open_clip backbone: its text tower is asked
    dataset: str
    scaling: Literal["unit", "standard"] = "unit"  # rows to length 1, or columns to deviation 1 before that
    n_ctx: Annotated[int, Field(ge=1)] = 32  # tokens that are learnt
    shared_context: bool = True  # a classifier's two prompts have one context; else each its own
    class_names: tuple[str, str] = ("real", "fake")
    epochs: Annotated[int, Field(ge=1)] = 120
    batch_size: Annotated[int, Field(ge=2)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    warmup_learning_rate: Annotated[float, Field(gt=0)] = 1e-5  # the first epoch's rate
    cosine_decay: Annotated[int, Field(ge=1)] = 200  # epochs after which the rate would be 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    epsilon: Annotated[float, Field(ge=0)] = 0.1  # how far half of the photographs' embeddings are pushed
