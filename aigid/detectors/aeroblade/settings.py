"""Every number of AEROBLADE."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from aigid.base.params import Settings


class AerobladeSettings(Settings):
    """NYCU compared 512 px images by VGG-16's second block and took the best of three autoencoders.

    Without ``vgg`` and ``linear`` the features are those of a narrow network of random weights: no download.
    """

    dataset: str  # the dataset whose validation images calibrate
    size: Annotated[int, Field(ge=8, le=2048)] = 512  # px, whatever the image's aspect
    autoencoders: tuple[str, ...] = ()  # folders of diffusers', beside the pipeline's own
    vgg: str | None = None  # torchvision's vgg16, a file
    linear: str | None = None  # LPIPS's weights of its layers, lpips/weights/v0.1/vgg.pth
    width: Annotated[int, Field(ge=1)] = 8  # of the random features

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.vgg is None) != (self.linear is None):
            raise ValueError("vgg and linear belong together: give both files or neither")
        return self


DetectorSettings = AerobladeSettings
