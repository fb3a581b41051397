"""What can be chosen of GenDet; the defaults and their reasons stand beside each value in params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aigid.core.params import Settings

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Mode = Literal["teacher", "ad", "ad_fake", "full"]


class TeacherSettings(Settings):
    """The teacher, whose shape the student and the augmenter share: one block of ``num_tokens`` tokens of ``width``."""

    num_tokens: Count = 4
    width: Count = 196
    heads: Count = 4
    expansion: Count = 4
    standardize: bool = True
    epochs: Count = 10
    learning_rate: Rate
    batch_size: Count = 256
    weight_decay: Weight = 0.01

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        return self


class ClassifierSettings(Settings):
    """N_c, which sees the discrepancy alone."""

    epochs: Count = 10
    learning_rate: Rate
    batch_size: Count = 256
    weight_decay: Weight = 0.01


class GenDetSettings(Settings):
    """The rotations, and what the paper takes away from them one by one.

    ``mode``: the teacher's own head; a student of reals alone; of fakes too; of fakes through the augmenter.
    """

    backbone: str
    dataset: str
    mode: Mode = "full"
    margin: Annotated[float, Field(gt=0, le=4)] = 2.0
    alpha: Weight = 0.1
    num_rotations: Count = 10
    learning_rate: Rate
    batch_size: Count = 256
    weight_decay: Weight = 0.01
    reduction: Literal["mean", "sum"] = "mean"
    optimizer_sharing: Literal["shared", "separate"] = "shared"
    residual_augmenter: bool = True
    normalize_discrepancy: bool = False
    classifier_fakes: Literal["plain", "augmented"] = "plain"
    teacher: TeacherSettings
    classifier: ClassifierSettings


DetectorSettings = GenDetSettings
