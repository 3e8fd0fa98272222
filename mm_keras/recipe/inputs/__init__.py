"""The kinds of input. Each field's unit is in its name or its comment; no tensors here."""

from typing import Annotated

from pydantic import Field

from mm_keras.recipe.inputs.audio import Audio
from mm_keras.recipe.inputs.encoder import Encoder
from mm_keras.recipe.inputs.entity import PRETRAIN, TRIPLE, Entity
from mm_keras.recipe.inputs.image import Image
from mm_keras.recipe.inputs.tabular import Tabular
from mm_keras.recipe.inputs.text import Text
from mm_keras.recipe.inputs.vector import Vector
from mm_keras.recipe.inputs.video import Video

__all__ = [
    "PRETRAIN",
    "TRIPLE",
    "Audio",
    "Encoder",
    "Entity",
    "Image",
    "Input",
    "Tabular",
    "Text",
    "Vector",
    "Video",
]

Input = Annotated[Image | Text | Audio | Video | Tabular | Vector | Entity, Field(discriminator="kind")]
