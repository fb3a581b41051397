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

    ``mode``: the teacher's own head; a student of reals alone; of fakes too; of fakes through the augmenter. Without
    rotations the student is an untrained one, the control that a trained one must beat. ``fake_sampling`` ``balanced``:
    an epoch on fakes takes as many of them, drawn anew, as there are reals.
    """

    backbone: str
    dataset: str
    mode: Mode = "full"
    margin: Annotated[float, Field(gt=0, le=4)] = 2.0
    alpha: Weight = 0.1
    num_rotations: Annotated[int, Field(ge=0)] = 10
    learning_rate: Rate
    batch_size: Count = 256
    weight_decay: Weight = 0.01
    reduction: Literal["mean", "sum"] = "mean"
    optimizer_sharing: Literal["shared", "separate"] = "shared"
    student_init: Literal["random", "teacher"] = "random"
    fake_sampling: Literal["all", "balanced"] = "all"
    residual_augmenter: bool = True
    normalize_discrepancy: bool = False
    classifier_fakes: Literal["plain", "augmented"] = "plain"
    teacher: TeacherSettings
    classifier: ClassifierSettings

    @model_validator(mode="after")
    def _student_leaves_teacher(self) -> Self:
        if self.student_init == "teacher" and (self.mode == "ad" or self.num_rotations == 0):
            reason = "a student that starts as the teacher and sees no fakes stays it: its discrepancy is 0 everywhere"
            where = f"mode {self.mode}, num_rotations {self.num_rotations}"
            raise ValueError(f"student_init teacher with {where}: {reason}")
        return self


DetectorSettings = GenDetSettings
