"""Every number of FeatDistill. What the paper does not give is chosen after its closest documented sibling (INTSIG)."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from aigid.core.params import Precision, Settings
from aigid.degradations.operators import GEOMETRIC
from aigid.degradations.policies import POLICIES, get_policy, refuse_unknown
from aigid.features.backbones import BackboneSettings, LoraSettings

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
BothClasses = Annotated[int, Field(ge=2)]
QUEUE = 16384
SecondView = Literal["clean", "augmented"] | None  # of an image, beside the degraded one


def _known(name: str | None) -> str | None:
    if name is not None and name not in POLICIES:
        raise ValueError(f"unknown policy; known: {', '.join(sorted(POLICIES))}")
    return name


Policy = Annotated[str | None, BeforeValidator(_known)]


def _require_torch(settings: BackboneSettings) -> BackboneSettings:
    if settings.library == "onnx":
        raise ValueError("an expert's encoder is trained: want library: open_clip, transformers or timm, not onnx")
    return settings


class ExpertSettings(Settings):
    """One expert; the paper's differ in pairs by nothing that it states, ours by their seed."""

    backbone: Annotated[BackboneSettings, AfterValidator(_require_torch)]
    seed: int
    lora: LoraSettings | None = None  # train adapters in every block instead of the whole encoder
    gradient_checkpointing: bool = False  # of activations: a third more computing, a fraction of the memory


class DataSettings(Settings):
    """What an expert sees of a training image."""

    max_images: BothClasses | None = None  # to train on, half of each class; None takes all
    max_val_images: BothClasses = 512  # of validation, likewise, for the log alone
    policy: Policy = "featdistill"  # a key of POLICIES in aigid/degradations/policies.py; None trains on clean images
    max_long_side: Annotated[int, Field(ge=16)] = 1024  # px to which larger images are scaled before they are degraded
    held_out_operators: tuple[str, ...] = ()  # of the policy, which training never sees
    degrade: Literal["image", "crop"] = "image"  # the whole image before it is cropped, or the crop
    crop: Literal["random", "inference"] = "random"  # a random part of the image, or what inference shows of it
    min_area: Share = 0.5  # share of the area that a random crop keeps at least
    hflip: bool = True  # half of the images, left to right

    @model_validator(mode="after")
    def _held_out(self) -> Self:
        if self.held_out_operators and self.policy is None:
            raise ValueError("held_out_operators: there is no policy to hold them out of")
        if self.policy is not None:
            refuse_unknown(self.policy, self.held_out_operators)
            get_policy(self.policy, frozenset(self.held_out_operators))
        return self


class OptimizerSettings(Settings):
    """How an expert descends in one stage: AdamW, a linear warm-up, then half a cosine down to 0."""

    epochs: Count = 2
    batch_size: Count = 128
    precision: Precision = "auto"
    encoder_learning_rate: Positive = 1e-5
    head_learning_rate: Positive = 1e-4
    encoder_weight_decay: Annotated[float, Field(ge=0)] = 0.05
    head_weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_fraction: Share = 0.05  # of all steps
    max_norm: Positive = 1.0

    @property
    def second(self) -> SecondView:
        """The view that the teacher gets, if it is another than the student's."""
        return None


class Stage2Settings(OptimizerSettings):
    """Cross-entropy, and a teacher: the paper gives two definitions, of which ``l2`` stands in more places."""

    epochs: Count = 3
    encoder_learning_rate: Positive = 5e-6
    head_learning_rate: Positive = 5e-5
    mode: Literal["l2", "crd_ema", "none"] = "l2"  # none: the control, as long but without a teacher
    distill_weight: Annotated[float, Field(ge=0)] = 1.0  # l2: of the distance
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (-1,)  # l2: blocks or stages whose tokens are compared
    teacher_view: Literal["clean", "same"] = "clean"  # l2: what the teacher sees: the crop as it was, or as degraded
    preserve_spatial_alignment: bool = True  # no operator moves a pixel, so that a token keeps its place
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.8  # crd_ema: of the contrast
    momentum: tuple[Share, Share] = (0.99, 0.9999)  # crd_ema: of the moving teacher, at the first and last step
    queue: Count | None = None  # crd_ema: teacher's embeddings of earlier images; null: QUEUE, or all if they are fewer
    temperature: Positive = 0.07
    width: Count = 128  # crd_ema: of the embeddings that are contrasted

    @property
    def second(self) -> SecondView:
        """A draw of its own where embeddings are contrasted; where tokens are compared, the same crop."""
        if self.mode == "crd_ema":
            return "augmented"
        return "clean" if self.mode == "l2" and self.teacher_view == "clean" else None


class FeatDistillSettings(Settings):
    """All of it; experts are averaged in this order."""

    dataset: str
    experts: Annotated[dict[str, ExpertSettings], Field(min_length=1)]
    data: DataSettings = DataSettings()
    stage1: OptimizerSettings = OptimizerSettings()  # cross-entropy alone
    stage2: Stage2Settings = Stage2Settings()

    @model_validator(mode="after")
    def _left_for_stage_2(self) -> Self:
        if self.data.policy is not None and self.stage2.preserve_spatial_alignment:
            get_policy(self.data.policy, frozenset(self.data.held_out_operators) | GEOMETRIC)
        return self


DetectorSettings = FeatDistillSettings
