"""How the inputs are joined."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from mm_keras.recipe.options import Option, check_options
from mm_keras.recipe.part import FrozenDict, NamedPart, Positive, Share
from mm_keras.registry import FUSION_OPTIONS, FUSIONS, nearest


class Fusion(NamedPart):
    """How the embeddings of the inputs become one.

    Args:
        kind: A name of `registry.FUSIONS`.
        units: Size of the joint embedding.
        dropout: Fraction of the joint embedding zeroed in training.
        options: More of the kind's own settings; the names, types and defaults stand in `registry.FUSION_OPTIONS`.
    """

    kind: str = "gated"
    units: Positive = 64
    dropout: Share = 0.1
    options: Annotated[FrozenDict[Option], Field(default_factory=dict, validate_default=True)]

    def __init__(self, kind="gated", **data):
        super().__init__(kind=kind, **data)

    __init__.__pydantic_base_init__ = True

    @field_validator("kind")
    @classmethod
    def _known(cls, kind):
        if kind not in FUSIONS:
            raise ValueError(f"must be one of {sorted(FUSIONS)}.{nearest(kind, FUSIONS)} Received: {kind!r}")
        return kind

    @model_validator(mode="after")
    def _options_fit(self):
        check_options(self.options, FUSION_OPTIONS.get(self.kind), f"fusion {self.kind!r}")
        return self
