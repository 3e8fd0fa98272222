"""The kinds of input. Each field's unit is in its name or its comment; no tensors here."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from mm_keras.recipe.names import can_be_served
from mm_keras.recipe.options import Option, check_options, with_defaults
from mm_keras.recipe.part import FrozenDict, Part, name_or_part
from mm_keras.recipe.transfer import check_transfer
from mm_keras.registry import ENCODER_OPTIONS, ENCODERS, FLAT_ENCODERS, SERIES_ENCODERS, nearest

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
TRIPLE, PRETRAIN = ("head", "relation", "tail"), ("transe", "distmult")


class Encoder(Part):
    """Which encoder an input gets, and how large.

    Args:
        kind: A name of `registry.ENCODERS[modality]`; `None` takes the modality's first entry.
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

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema, handler):
        return name_or_part(handler(core_schema))


def _encoder_from_name(value):
    return {"kind": value} if isinstance(value, str) else value


class _Input(Part):
    # Fields that change training batches alone.
    augmentation: ClassVar = ()

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
        check_transfer(self)
        return self

    @property
    def encoder_kind(self):
        """The encoder's name, the modality's default resolved."""
        return self.encoder.kind or next(iter(ENCODERS[self.kind]))

    @property
    def layout(self):
        """How a value is laid out: the modality, but for `views` (several pictures) and `series` (a sequence)."""
        return self.kind

    @property
    def encoder_options(self):
        """All the encoder's own settings, the defaults of `registry.ENCODER_OPTIONS` filled in."""
        return with_defaults(self.encoder.options, ENCODER_OPTIONS.get((self.kind, self.encoder_kind)))


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
    """A string of any script, split into WordPieces whose vocabulary is learned from the training rows, or into bytes.

    Args:
        column: Column of the manifest with the text. Defaults to the input's name.
        tokens: `"wordpiece"`, or `"bytes"`: the bytes of its UTF-8 as they came, case and accents kept, with nothing to
            learn. Bytes make longer sequences, and know no unknown word.
        length: Number of tokens kept; longer texts are cut. A character of UTF-8 is one to four bytes.
        vocabulary_size: Number of WordPieces to aim at, `[PAD]` and `[UNK]` counted. The learner may miss it by a
            tenth, and gives fewer when not so many occur twice; every character of the texts is kept whatever it is,
            alone and as part of a word. Bytes have none.
        remove: RE2 pattern deleted from the text before it is split.
        vectors: File of word vectors, in the text format of GloVe and word2vec. Words that have one stay whole, and
            half of `vocabulary_size` is for them; WordPieces spell the others.
        train_vectors: Whether the vectors are trained on. Defaults to `False`: of few rows, words that do not occur
            would be left behind by those that do.
        swap: Share of the WordPieces that change places with another in training (arXiv:1901.11196). Defaults to
            `0.0`.
        drop: Share of the WordPieces that training deletes, never all of a text. Defaults to `0.0`.
        encoder: Name or `Encoder`.
    """

    kind: Literal["text"] = "text"
    column: str | None = None
    tokens: Literal["wordpiece", "bytes"] = "wordpiece"
    length: Positive = 64
    vocabulary_size: Annotated[int, Field(ge=16)] = 8000
    remove: str | None = None
    vectors: str | None = None
    train_vectors: bool = False
    swap: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    drop: Share = 0.0

    augmentation: ClassVar = ("swap", "drop")

    @model_validator(mode="after")
    def _vectors_fit(self):
        if self.train_vectors and not self.vectors:
            raise ValueError("`train_vectors` needs `vectors`, a file of them.")
        if self.tokens == "bytes" and (self.vectors or self.encoder_kind == "hub"):
            raise ValueError("bytes have neither word vectors nor a preset's vocabulary; take tokens 'wordpiece'.")
        if self.vectors and self.encoder.weights:
            raise ValueError(
                "takes `vectors` or the encoder's `weights`, which bring their own vocabulary. "
                f"Received: vectors={self.vectors!r}, weights={self.encoder.weights!r}"
            )
        return self

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
        snr_db: Signal-to-noise ratio, decibels, of white noise that training adds. Defaults to `None`, no noise.
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
    snr_db: Annotated[float, Field(ge=-40.0, le=120.0)] | None = None

    augmentation: ClassVar = ("shift_ms", "mask", "snr_db")

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


class Vector(_Input):
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
    def encoder_kind(self):
        return self.encoder.kind or (SERIES_ENCODERS if self.steps else FLAT_ENCODERS)[0]


def _word(value):
    """An empty cell of a DataFrame is `""`, a number 5.0 is `"5"`, as in a table on disk."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _triples(value):
    """Makes a DataFrame, or rows of any three values, a tuple of triples; a path stays."""
    if isinstance(value, str | Path):
        return str(value)
    if hasattr(value, "columns"):
        if lacking := [c for c in TRIPLE if c not in value.columns]:
            raise ValueError(f"`triples` needs the columns {list(TRIPLE)}. Absent: {lacking}")
        value = value[list(TRIPLE)].itertuples(index=False)
    try:
        return tuple(tuple(_word(word) for word in row) for row in value)
    except TypeError:
        return value


def _records(value):
    """Makes a DataFrame a tuple of records of plain values; a path stays."""
    if isinstance(value, str | Path):
        return str(value)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.astype(object).where(value.notna(), None).to_dict("records")
    return value


class Entity(_Input):
    """A node of a knowledge graph, by its name. Every answer can use its neighbours and its features.

    A name that the graph lacks is a bad row when a manifest is loaded, and counts as missing, with an `error`, when
    served. The graph is stored with the run and baked into what is exported.

    Args:
        column: Column of the manifest with the name. Defaults to the input's name.
        triples: The graph: the path of a table with the columns `head`, `relation` and `tail` (relative as the
            manifest's paths are), a DataFrame of them, or a list of triples, which then stands in the recipe.
        features: What is known of the nodes: the path of a table (or a DataFrame, or a list of records) with the column
            `entity`, the names, and those of `numeric` and `text`. Nodes may be absent, and cells empty.
        numeric: Columns of `features` with numbers; standardised over all nodes.
        text: The column of `features` with a text.
        text_length: Number of WordPieces of a text that are kept.
        vocabulary_size: Of the texts; see `Text`.
        neighbours: Most neighbours of a node that the model sees; of more, as many are drawn, once and for all.
        seed: Of that draw.
        encoder: Name or `Encoder`.
    """

    kind: Literal["entity"] = "entity"
    column: str | None = None
    triples: Annotated[str | tuple[tuple[str, str, str], ...], BeforeValidator(_triples)]
    features: Annotated[str | tuple[FrozenDict[str | int | float | None], ...] | None, BeforeValidator(_records)] = None
    numeric: tuple[str, ...] = ()
    text: str | None = None
    text_length: Positive = 16
    vocabulary_size: Annotated[int, Field(ge=16)] = 4000
    neighbours: Positive = 8
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _columns_fit(self):
        columns = [*self.numeric, *([self.text] if self.text else [])]
        if (self.features is None) is bool(columns):
            raise ValueError(
                "`features` goes with the columns to take from it, `numeric` or `text` or both. "
                f"Received: features={'None' if self.features is None else '..'}, columns={columns}"
            )
        if twice := {c for c in (*columns, "entity") if (*columns, "entity").count(c) > 1}:
            raise ValueError(f"names a column of `features` twice. Received: {sorted(twice)}")
        return self

    @model_validator(mode="after")
    def _options_have_a_meaning(self):
        forget = self.encoder.options.get("forget", 0.0)
        if not 0.0 <= forget < 1.0:
            raise ValueError(f"encoder option 'forget' must be in [0, 1). Received: {forget}")
        return self


Input = Annotated[Image | Text | Audio | Video | Tabular | Vector | Entity, Field(discriminator="kind")]
