"""Moving pictures."""

from typing import Annotated, Literal

from pydantic import Field

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.part import Positive


class Video(ModalityInput):
    """Moving pictures: an animated GIF, or its frames one by one; MP4 and AVI are converted first (`mm-keras ingest`).

    Args:
        column: Column of the manifest with the path of a GIF or of a folder of frames (in the order of their names), a
            list of paths of frames, or one text with `;` between them. Defaults to the input's name.
        frames: Frames that the model sees. Longer videos give the middles of as many equal parts (arXiv:1608.00859,
            section 3.1), shorter ones all they have; the rest is masked.
        size: `(height, width)` in pixels of a frame.
        channels: 1 (grey) or 3 (RGB).
        resize: `"stretch"` to `size`, or `"pad"` to keep the aspect on black borders.
        background: Grey level 0..255 that transparency of still frames is composited on.
        encoder: Name or `Encoder`.
    """

    kind: Literal["video"] = "video"
    column: str | None = None
    frames: Positive = 8
    size: tuple[Positive, Positive] = (64, 64)
    channels: Literal[1, 3] = 3
    resize: Literal["stretch", "pad"] = "stretch"
    background: Annotated[int, Field(ge=0, le=255)] = 255
