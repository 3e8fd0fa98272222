"""What every input has: an encoder, and a check that its modality has such a one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.options import Option, check_options, with_defaults
from mm_keras.recipe.part import FROM_NAME, FrozenDict, NamedPart, Part, Positive, Share
from mm_keras.recipe.transfer import check_transfer
from mm_keras.registry import ENCODER_OPTIONS, ENCODERS, nearest


class Encoder(NamedPart):
    """Which encoder an input gets, and how large.

    Args:
        kind: A name of `registry.ENCODERS[modality]`; `None` becomes the modality's default, its first entry.
        size: `"tiny"`, `"small"` or `"base"`; embeddings of 32, 64 or 128 units.
        dropout: Fraction of the embedding zeroed in training.
        weights: Where the first weights come from: a run folder, whose encoder of the same kind is taken, with the
            vocabulary and statistics that it learned; a `.weights.h5`, `.h5` or `.keras` file of the backbone, or of
            the whole encoder when it has none; `"imagenet"`, which Keras downloads; for `hub`, a preset
            folder of KerasHub. Empty draws them at random.
        weights_input: The input of that run; `None` takes the one of the same name, or else the only one that fits.
        train: What of the backbone, or of the whole encoder when it has none, is trained: `"all"`, `"last"` blocks, or
            `"none"`. What is not trained runs as in inference, normalisation included.
        blocks: How many blocks are the last ones.
        rate: Factor on the learning rate of what `train` covers.
        options: More of the kind's own settings; the names, types and defaults stand in `registry.ENCODER_OPTIONS`.
    """

    kind: str | None = None
    size: Literal["tiny", "small", "base"] = "small"
    dropout: Share = 0.1
    weights: str = ""
    weights_input: str | None = None
    train: Literal["all", "last", "none"] = "all"
    blocks: Positive = 1
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    options: Annotated[FrozenDict[Option], Field(default_factory=dict, validate_default=True)]


class ModalityInput(Part):
    """What the inputs of all modalities have."""

    # Fields that change training batches alone.
    augmentation: ClassVar = ()

    encoder: Annotated[Encoder, FROM_NAME] = Encoder()

    @model_validator(mode="after")
    def _encoder_exists(self):
        kinds = ENCODERS[self.kind]
        if self.encoder.kind is None:
            # Named from here on: what is stored keeps its meaning when another encoder becomes the default.
            self.__dict__["encoder"] = self.encoder.model_copy(update={"kind": self.default_encoder})
        if self.encoder.kind not in kinds:
            raise ValueError(
                f"`encoder` must be one of {sorted(kinds)} for {self.kind}.{nearest(self.encoder.kind, kinds)} "
                f"Received: encoder={self.encoder.kind!r}"
            )
        known = ENCODER_OPTIONS.get((self.kind, self.encoder_kind))
        check_options(self.encoder.options, known, f"{self.kind} encoder {self.encoder_kind!r}")
        check_transfer(self)
        return self

    @property
    def default_encoder(self):
        """The name of the encoder that is taken when none is given."""
        return next(iter(ENCODERS[self.kind]))

    @property
    def encoder_kind(self):
        """The encoder's name."""
        return self.encoder.kind

    @property
    def layout(self):
        """How a value is laid out: the modality, but for `views` (several pictures) and `series` (a sequence)."""
        return self.kind

    @property
    def encoder_options(self):
        """All the encoder's own settings, the defaults of `registry.ENCODER_OPTIONS` filled in."""
        return with_defaults(self.encoder.options, ENCODER_OPTIONS.get((self.kind, self.encoder_kind)))
