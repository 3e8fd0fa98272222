"""Numbers and categories, a column each."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.names import can_be_served
from mm_keras.recipe.part import Share


class Tabular(ModalityInput):
    """Numbers and categories of one row. Missing cells and unseen categories are allowed.

    Args:
        numeric: Columns of numbers; standardised with the training rows' mean and deviation.
        categorical: Columns of categories; the most frequent are kept.
        max_categories: Most categories kept per column; rarer ones count as unknown.
        noise: Deviation of the noise that training adds to numbers, in deviations of the column. Defaults to `0.0`.
        drop: Share of the cells that go missing in training, never all of a row. Defaults to `0.0`.
        encoder: Name or `Encoder`.
    """

    kind: Literal["tabular"] = "tabular"
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    max_categories: Annotated[int, Field(ge=1, le=4096)] = 256
    noise: Annotated[float, Field(ge=0.0)] = 0.0
    drop: Share = 0.0

    augmentation: ClassVar = ("noise", "drop")

    @model_validator(mode="after")
    def _has_columns(self):
        columns = [*self.numeric, *self.categorical]
        if not columns:
            raise ValueError("needs at least one column in `numeric` or `categorical`.")
        if twice := {c for c in columns if columns.count(c) > 1}:
            raise ValueError(f"names a column twice. Received: {sorted(twice)}")
        if self.noise and not self.numeric:
            raise ValueError(f"`noise` needs columns in `numeric`. Received: noise={self.noise}")
        return self

    def fields(self):
        """Returns `{column: served field name}`.

        A column that can be a signature name keeps its own; others are spelt in ASCII letters, digits and underscores
        after `column_`, or numbered when nothing is left of them.
        """
        fields = {}
        for i, column in enumerate((*self.numeric, *self.categorical)):
            slug = re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_")
            fields[column] = slug if can_be_served(slug) else f"column_{slug or i}"
        return fields
