"""The kinds of input. Each field's unit is in its name or its comment; no tensors here."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mm_keras.recipe.names import can_be_served
from mm_keras.recipe.options import Option, check_options
from mm_keras.recipe.part import FrozenDict, Part, name_or_part
from mm_keras.registry import ENCODER_OPTIONS, ENCODERS, FLAT_ENCODERS, SERIES_ENCODERS, nearest

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Encoder(Part):
    """Which encoder an input gets, and how large.

    Args:
        kind: A name of `registry.ENCODERS[modality]`; `None` takes the modality's first entry.
        size: `"tiny"`, `"small"` or `"base"`; embeddings of 32, 64 or 128 units.
        dropout: Fraction of the embedding zeroed in training.
        options: More of the kind's own settings; the names, types and defaults stand in `registry.ENCODER_OPTIONS`.
    """

    kind: str | None = None
    size: Literal["tiny", "small", "base"] = "small"
    dropout: Share = 0.1
    options: Annotated[FrozenDict[Option], Field(default_factory=dict, validate_default=True)]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema, handler):
        return name_or_part(handler(core_schema))


def _encoder_from_name(value):
    return {"kind": value} if isinstance(value, str) else value


class _Input(Part):
    encoder: Annotated[Encoder, BeforeValidator(_encoder_from_name)] = Encoder()

    @model_validator(mode="after")
    def _encoder_exists(self):
        kinds = ENCODERS[self.kind]
        if self.encoder.kind is not None and self.encoder.kind not in kinds:
            raise ValueError(
                f"`encoder` must be one of {sorted(kinds)} for {self.kind}.{nearest(self.encoder.kind, kinds)} "
                f"Received: encoder={self.encoder.kind!r}"
            )
        known = ENCODER_OPTIONS.get((self.kind, self.encoder_kind))
        check_options(self.encoder.options, known, f"{self.kind} encoder {self.encoder_kind!r}")
        return self

    @property
    def encoder_kind(self):
        """The encoder's name, the modality's default resolved."""
        return self.encoder.kind or next(iter(ENCODERS[self.kind]))

    @property
    def layout(self):
        """How a value is laid out: the modality, but for `views` (several pictures) and `series` (a sequence)."""
        return self.kind


class Image(_Input):
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
        shift: Largest random shift in training, as a share of the side. Defaults to `0.0`.
        flip: Whether training mirrors pictures left to right at random.
        encoder: Name or `Encoder`.
    """

    kind: Literal["image"] = "image"
    column: str | None = None
    views: Positive | None = None
    size: tuple[Positive, Positive] = (96, 96)
    channels: Literal[1, 3, 4] = 3
    resize: Literal["stretch", "pad"] = "stretch"
    background: Annotated[int, Field(ge=0, le=255)] = 255
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    flip: bool = False

    @property
    def layout(self):
        return "views" if self.views else "image"


class Video(_Input):
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


class Text(_Input):
    """A string of any script, split into WordPieces whose vocabulary is learned from the training rows.

    Args:
        column: Column of the manifest with the text. Defaults to the input's name.
        length: Number of tokens kept; longer texts are cut.
        vocabulary_size: Number of WordPieces to aim at, `[PAD]` and `[UNK]` counted. The learner may miss it by a
            tenth, and gives fewer when not so many occur twice; every character of the texts is kept whatever it is,
            alone and as part of a word.
        remove: RE2 pattern deleted from the text before it is split.
        encoder: Name or `Encoder`.
    """

    kind: Literal["text"] = "text"
    column: str | None = None
    length: Positive = 64
    vocabulary_size: Annotated[int, Field(ge=16)] = 8000
    remove: str | None = None

    @model_validator(mode="after")
    def _pattern_compiles(self):
        if self.remove:
            # Arrow's RE2 is the library that TensorFlow runs; Python's `re` takes and refuses other patterns.
            import pyarrow
            from pyarrow import compute

            try:
                compute.replace_substring_regex(pyarrow.array([""]), pattern=self.remove, replacement="")
            except pyarrow.ArrowInvalid as error:
                raise ValueError(f"`remove` is no RE2 pattern: {error}. Received: remove={self.remove!r}") from None
        return self


class Audio(_Input):
    """A sound: WAV bytes (PCM 8/16/24/32 bit or float 32), or a path to them.

    Args:
        column: Column of the manifest with the path. Defaults to the input's name.
        seconds: Length kept; longer clips are cut, shorter ones end in silence.
        sampling_rate: Hertz that clips are resampled to.
        window_ms: Length of one analysis window, milliseconds. 25 with a hop of 10 is the usual choice for speech.
        hop_ms: Step between windows, milliseconds.
        num_mel_bins: Number of mel bands between `min_hz` and `max_hz`.
        min_hz: Lowest frequency of the mel bank, hertz.
        max_hz: Highest frequency, hertz. Defaults to half the sampling rate.
        shift_ms: Largest random shift in time in training, milliseconds. Defaults to `0.0`.
        mask: Largest share of the frames, and of the mel bands, that training blanks (SpecAugment, arXiv:1904.08779,
            section 2; one mask each). Defaults to `0.0`.
        encoder: Name or `Encoder`.
    """

    kind: Literal["audio"] = "audio"
    column: str | None = None
    seconds: Annotated[float, Field(gt=0.0, le=600.0)] = 2.0
    sampling_rate: Annotated[int, Field(ge=1000, le=96_000)] = 16_000
    window_ms: Annotated[float, Field(gt=0.0)] = 25.0
    hop_ms: Annotated[float, Field(gt=0.0)] = 10.0
    num_mel_bins: Positive = 64
    min_hz: Annotated[float, Field(ge=0.0)] = 20.0
    max_hz: float | None = None
    shift_ms: Annotated[float, Field(ge=0.0)] = 0.0
    mask: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0

    @model_validator(mode="after")
    def _frequencies_fit(self):
        top = self.max_hz if self.max_hz is not None else self.sampling_rate / 2
        if not self.min_hz < top <= self.sampling_rate / 2:
            raise ValueError(
                "needs min_hz < max_hz <= sampling_rate / 2. "
                f"Received: min_hz={self.min_hz}, max_hz={top}, sampling_rate={self.sampling_rate}"
            )
        if self.hop_ms > 1000 * self.seconds:
            raise ValueError(f"`hop_ms` is longer than the clip. Received: hop_ms={self.hop_ms}")
        return self


class Tabular(_Input):
    """Numbers and categories of one row. Missing cells and unseen categories are allowed.

    Args:
        numeric: Columns of numbers; standardised with the training rows' mean and deviation.
        categorical: Columns of categories; the most frequent are kept.
        max_categories: Most categories kept per column; rarer ones count as unknown.
        encoder: Name or `Encoder`.
    """

    kind: Literal["tabular"] = "tabular"
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    max_categories: Annotated[int, Field(ge=1, le=4096)] = 256

    @model_validator(mode="after")
    def _has_columns(self):
        columns = [*self.numeric, *self.categorical]
        if not columns:
            raise ValueError("needs at least one column in `numeric` or `categorical`.")
        if twice := {c for c in columns if columns.count(c) > 1}:
            raise ValueError(f"names a column twice. Received: {sorted(twice)}")
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


class Vector(_Input):
    """Features computed elsewhere: columns of numbers, or a column of `.npy` paths or lists. With `steps`, a sequence.

    Args:
        column: Column with paths or lists. Defaults to the input's name. With `steps`, each holds `(steps, features)`.
        steps: Most steps of a sequence; what comes after them is cut and not looked at, shorter sequences are padded
            and masked. A step whose features are all NaN is missing and masked too. `None` takes one flat vector.
        columns: Columns with one number each, in order.
        prefix: Takes every column whose name starts so, in the order of the table.
        encoder: Name or `Encoder`.
    """

    kind: Literal["vector"] = "vector"
    column: str | None = None
    steps: Positive | None = None
    columns: tuple[str, ...] = ()
    prefix: str | None = None

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
    def encoder_kind(self):
        return self.encoder.kind or (SERIES_ENCODERS if self.steps else FLAT_ENCODERS)[0]


Input = Annotated[Image | Text | Audio | Video | Tabular | Vector, Field(discriminator="kind")]
