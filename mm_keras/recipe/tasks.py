"""What is predicted."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from mm_keras.recipe.part import Part, Share


def _class_name(value):
    if isinstance(value, bool):
        raise ValueError(f"YAML reads yes, no, on and off as true and false; put the name in quotes. Received: {value}")
    return str(value) if isinstance(value, int | float) else value


class Classification(Part):
    """One of several classes.

    Args:
        column: Column of the manifest with the label. Defaults to the task's name.
        classes: The class names, in the order of the outputs; any other label is a bad row. `None` takes the
            labels of the training rows, sorted (as numbers when all are numbers).
        class_weight: `"balanced"` weighs each class by `n / (classes * count)` in the loss; `None` weighs all alike.
        label_smoothing: Share of each label spread over all classes.
        weight: Factor of this task's loss among several.
    """

    kind: Literal["classification"] = "classification"
    column: str | None = None
    classes: tuple[Annotated[str, BeforeValidator(_class_name)], ...] | None = None
    class_weight: Literal["balanced"] | None = None
    label_smoothing: Share = 0.0
    weight: Annotated[float, Field(gt=0.0)] = 1.0

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes):
        if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise ValueError(f"needs at least two distinct names. Received: {list(classes)}")
        return classes


class Regression(Part):
    """One number, in the unit of its column.

    Args:
        column: Column of the manifest with the number. Defaults to the task's name.
        weight: Factor of this task's loss among several.
    """

    kind: Literal["regression"] = "regression"
    column: str | None = None
    weight: Annotated[float, Field(gt=0.0)] = 1.0


Task = Annotated[Classification | Regression, Field(discriminator="kind")]
