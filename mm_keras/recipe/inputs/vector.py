"""Features computed elsewhere, one vector or a sequence of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.part import Positive
from mm_keras.registry import ENCODERS, FLAT_ENCODERS, SERIES_ENCODERS


class Vector(ModalityInput):
    """Features computed elsewhere: columns of numbers, or a column of `.npy` paths or lists. With `steps`, a sequence.

    Args:
        column: Column with paths or lists. Defaults to the input's name. With `steps`, each holds `(steps, features)`.
        steps: Most steps of a sequence; what comes after them is cut and not looked at, shorter sequences are padded
            and masked. A step whose features are all NaN is missing and masked too. `None` takes one flat vector.
        columns: Columns with one number each, in order.
        prefix: Takes every column whose name starts so, in the order of the table.
        noise: Deviation of the noise that training adds, in deviations of each feature. Defaults to `0.0`.
        encoder: Name or `Encoder`.
    """

    kind: Literal["vector"] = "vector"
    column: str | None = None
    steps: Positive | None = None
    columns: tuple[str, ...] = ()
    prefix: str | None = None
    noise: Annotated[float, Field(ge=0.0)] = 0.0

    augmentation: ClassVar = ("noise",)

    @model_validator(mode="after")
    def _one_source(self):
        given = [n for n in ("column", "columns", "prefix") if getattr(self, n)]
        if len(given) > 1:
            raise ValueError(f"takes one of `column`, `columns` and `prefix`. Received: {given}")
        if self.steps and (self.columns or self.prefix):
            raise ValueError(f"with `steps`, needs a `column` of `.npy` paths or lists of lists. Received: {given}")
        return self

    @model_validator(mode="after")
    def _encoder_fits(self):
        fitting = [k for k in ENCODERS["vector"] if (k in FLAT_ENCODERS) != bool(self.steps)]
        if self.steps and self.encoder_kind in FLAT_ENCODERS:
            raise ValueError(
                f"the encoder {self.encoder_kind!r} takes flat vectors; with `steps`, use one of {fitting}. "
                f"Received: steps={self.steps}"
            )
        if not self.steps and self.encoder_kind in SERIES_ENCODERS:
            raise ValueError(
                f"the encoder {self.encoder_kind!r} takes sequences; give `steps`, or use one of {fitting}. "
                "Received: steps=None"
            )
        return self

    @property
    def layout(self):
        return "series" if self.steps else "vector"

    @property
    def default_encoder(self):
        return (SERIES_ENCODERS if self.steps else FLAT_ENCODERS)[0]
