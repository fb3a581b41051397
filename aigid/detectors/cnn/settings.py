"""Every number of the five-channel network."""

from typing import Annotated, Literal

from pydantic import Field

from aigid.core.params import Precision, Settings, divides

Channel = Literal["rgb", "error", "frequency"]
Divisor = Annotated[Annotated[int, Field(ge=2)] | None, divides("batch_size")]
NUM_CHANNELS = {"rgb": 3, "error": 1, "frequency": 1}

# What the published code does otherwise, each by its name:
#   legacy_offset         the error is stored as e/2 + 1/2, so that it fills the upper half of the grey levels
#   wrap_frequency        the log spectrum is cast to 8 bits without clipping: what exceeds 255 starts again at 0
#   clean_side_channels   error and spectrum of a degraded image are those of the clean one
#   frozen_after_first_epoch   from the second epoch on, the network trains in evaluation mode
PaperCompat = Literal["legacy_offset", "wrap_frequency", "clean_side_channels", "frozen_after_first_epoch"]


class CnnSettings(Settings):
    """The paper's values are the defaults, where it or its code gives one."""

    dataset: str
    task: Literal["generator", "binary"] = "generator"
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("rgb", "error", "frequency")
    size: Annotated[int, Field(ge=8, le=2048)] = 512  # px, whatever the image's aspect
    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("clean",)  # of the training images
    view_sampling: Literal["all", "random"] = "all"  # random: an epoch sees an image in one view, by epoch and image
    latent: Literal["mode", "sample"] = "mode"  # the VAE's; the published code samples
    model: str = "efficientnet_b0"  # any of timm
    pretrained: bool | str = False  # timm's weights, from the hub or from ``weights``; or a backbone's, by its name
    weights: str | None = None  # a local file for ``pretrained: true``
    stem: Literal["random", "adapted"] = "random"  # adapted: the pretrained filters of RGB, repeated over all channels
    stem_stride: Annotated[int, Field(ge=1, le=4)] = 2
    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 8
    norm_batch_size: Divisor = None  # images that batch norms see at once; null: the batch
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "one_cycle"] = "constant"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    hflip: bool = False  # half of the training images, left to right
    hflip_tta: bool = False  # the mean of what an image gets and what its mirror image gets
    precision: Precision = "auto"
    compat: tuple[PaperCompat, ...] = ()

    @property
    def num_channels(self) -> int:
        """Channels of the network's input."""
        return sum(NUM_CHANNELS[channel] for channel in self.channels)

    def with_shortcut(self, taken: bool) -> "CnnSettings":
        """Return these settings, with ``clean_side_channels`` if the shortcut is ``taken``, else without."""
        others = tuple(name for name in self.compat if name != "clean_side_channels")
        return self.model_copy(update={"compat": (*others, "clean_side_channels") if taken else others})


DetectorSettings = CnnSettings
