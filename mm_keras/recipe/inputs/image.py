"""Pictures, one or several views."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.part import Positive, Share


class Image(ModalityInput):
    """A picture: JPEG, PNG, GIF (first frame) or BMP bytes, or a path to them. With `views`, several of one thing.

    Args:
        column: Column of the manifest with the path. Defaults to the input's name. With `views`: a list of paths, or
            one text with `;` between them.
        views: Most pictures of one example; fewer are masked, more are a bad row. One encoder reads each, and a
            learned attention pools them, so their order does not matter. A wholly black view counts as absent.
            `None` takes one picture.
        size: `(height, width)` in pixels of the model tensor.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and alpha).
        resize: `"stretch"` to `size`, or `"pad"` to keep the aspect on black borders.
        background: Grey level 0..255 that transparency is composited on, for 1 and 3 channels.
        fast_decode: Whether a JPEG that is at least twice as large as `size` is decoded at a half, a quarter or an
            eighth before it is resized, in training and in the served model alike: several times faster, and a little
            other pixels. For 1 and 3 channels. Defaults to `False`.
        whole_levels: Whether pixels are rounded to the 256 levels of a byte after resizing, in training and in the
            served model alike. Decoded pictures then stay bytes until their batch is complete: a quarter of the memory
            of a cache; and on to the device, which scales them, when training neither augments nor mixes them and
            weighs no losses against each other (`balance`). Defaults to `False`.
        shift: Largest random shift in training, as a share of the side. Defaults to `0.0`.
        flip: Whether training mirrors half of the pictures left to right.
        crop: Largest share of the area that training cuts away at random; the rest is resized to `size`.
            Defaults to `0.0`.
        brightness: Training multiplies pictures by a factor of `1 - brightness` to `1 + brightness`. Defaults to
            `0.0`.
        contrast: As `brightness`, of the distance from the picture's mean grey. Defaults to `0.0`.
        saturation: As `brightness`, of the distance from each pixel's own grey. Defaults to `0.0`.
        cutout: Sides of a rectangle that training covers with the mean colour, as a share of the picture's sides
            (arXiv:1708.04552). Defaults to `0.0`.
        encoder: Name or `Encoder`.
    """

    kind: Literal["image"] = "image"
    column: str | None = None
    views: Positive | None = None
    size: tuple[Positive, Positive] = (96, 96)
    channels: Literal[1, 3, 4] = 3
    resize: Literal["stretch", "pad"] = "stretch"
    background: Annotated[int, Field(ge=0, le=255)] = 255
    fast_decode: bool = False
    whole_levels: bool = False
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    flip: bool = False
    crop: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    cutout: Share = 0.0

    augmentation: ClassVar = ("shift", "flip", "crop", "brightness", "contrast", "saturation", "cutout")

    @model_validator(mode="after")
    def _has_colours(self):
        if self.saturation and self.channels == 1:
            raise ValueError(f"`saturation` needs colours, and `channels` is 1. Received: saturation={self.saturation}")
        return self

    @model_validator(mode="after")
    def _decodes_colours_fast(self):
        if self.fast_decode and self.channels == 4:
            raise ValueError("`fast_decode` is for 1 and 3 channels. Received: channels=4")
        return self

    @property
    def layout(self):
        return "views" if self.views else "image"
