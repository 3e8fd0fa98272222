"""What a person looks at: each input as the model saw it, and its map in the same layout."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image as Picture

from mm_keras.errors import DataError
from mm_keras.preprocessing.wav import encode_wav

# A picture's values lie between the first of these that fit.
RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# A photo's longer side on a card; more would only make the page heavy.
MOST_PIXELS = 512


@dataclass(frozen=True)
class Panel:
    """One input of an explained example.

    Args:
        kind: The layout of the input: its modality, but for `views` and `series`.
        missing: Whether the input was blank.
        drawn: What the preprocessor's `draw` returns: uint8 `(height, width, 3 or 4)`, of views and videos
            `(pictures, height, width, 3 or 4)`, WordPieces, log-mel `(mels, frames)`, `{field: value}`, a float array
            in the features' units, of a sequence `(steps, features)`, or an entity's name.
        names: Of the parts that have one: WordPieces, characters, fields, features or entities.
        is_spelt: Whether the names are the characters of a text as it was written, white space too.
        shown: Text of the parts' values in their own units, for tables and vectors; of entities, the relation.
        seconds: Length of a sound, as the model hears it.
        hertz: Middle of each mel band, of a sound.
        sound: WAV bytes of what the model heard: mono, resampled, cut or padded.
        original: A picture as it came, uint8 `(height, width, 3 or 4)`, its longer side at most `MOST_PIXELS`.
        place: `(rows, columns)`, slices: where the original lies in what was drawn, which may have borders.
        spelling: How the WordPieces of a text were written; `##` before what stands right behind the one before.
    """

    kind: str
    missing: bool
    drawn: object
    names: tuple[str, ...] = ()
    is_spelt: bool = False
    shown: tuple[str, ...] = ()
    seconds: float = 0.0
    hertz: tuple[float, ...] = ()
    sound: bytes = b""
    original: np.ndarray | None = None
    place: tuple[slice, slice] = (slice(None), slice(None))
    spelling: tuple[str, ...] = ()


def _image(preprocessor, tensor, attribution, raw):
    seen = {}
    if contents := raw[preprocessor.name]:
        original, place = preprocessor.original(contents)
        seen = {"original": _at_most(original, MOST_PIXELS), "place": place}
    return attribution.sum(axis=-1), seen


def _pictures(preprocessor, tensor, attribution, raw):
    return attribution.sum(axis=-1)[: len(preprocessor.draw(tensor))], {}


def _text(preprocessor, tensor, attribution, raw):
    kept = np.asarray(tensor) != 0
    # Some encoders enter with several vectors a token.
    values, names = attribution.reshape(len(kept), -1).sum(axis=-1)[kept], tuple(preprocessor.words(tensor))
    if not preprocessor.is_bytes:
        return values, {"names": names, "spelling": tuple(preprocessor.spelling(raw[preprocessor.name]))}
    if names:  # a character of several bytes is their sum
        sizes = [size for _, size in preprocessor.characters(tensor)]
        values = np.add.reduceat(values, np.cumsum((0, *sizes))[:-1])
    return values, {"names": names, "is_spelt": True}


def _audio(preprocessor, tensor, attribution, raw):
    spec = preprocessor.spec
    waveform = preprocessor.decode({n: tf.constant(v) for n, v in raw.items()}).numpy()
    top = spec.max_hz or spec.sampling_rate / 2
    # The bank is spaced evenly on the mel scale of HTK, as tf.signal.linear_to_mel_weight_matrix has it.
    low, high = (1127.0 * np.log1p(f / 700.0) for f in (spec.min_hz, top))
    middles = 700.0 * np.expm1(np.linspace(low, high, spec.num_mel_bins + 2)[1:-1] / 1127.0)
    seen = {"seconds": tensor.shape[0] * preprocessor.hop / spec.sampling_rate, "hertz": tuple(middles.tolist())}
    return attribution.T, {**seen, "sound": encode_wav(waveform, spec.sampling_rate)}


def _tabular(preprocessor, tensor, attribution, raw):
    groups = preprocessor.tensor.groups
    starts = np.cumsum((0, *groups))[:-1]
    fields = preprocessor.draw(tensor)
    # A category outside the vocabulary is shown by the word that came.
    shown = [f"{raw[f].decode()} (unknown)" if v == "(unknown)" else _number(v) for f, v in fields.items()]
    return np.add.reduceat(attribution, starts), {"names": tuple(fields), "shown": tuple(shown)}


def _vector(preprocessor, tensor, attribution, raw):
    columns = preprocessor.state.get("columns") or [f"feature {i}" for i in range(len(tensor))]
    shown = tuple(f"{v:.4g}" for v in preprocessor.draw(tensor))
    return attribution, {"names": tuple(columns), "shown": shown}


def _series(preprocessor, tensor, attribution, raw):
    count = tensor.shape[-1] - 1
    # What the mark of a step contributed is no feature's own. The encoders of the house leave it out.
    values = attribution[:, :-1] + attribution[:, -1:] / count
    return values[: len(preprocessor.draw(tensor))], {"names": tuple(f"feature {i}" for i in range(count))}


def _entity(preprocessor, tensor, attribution, raw):
    own, neighbours = attribution[0].sum(), preprocessor.neighbours(int(tensor[0]))
    name = preprocessor.draw(tensor)
    if len(attribution) == 1:
        return np.array([own]), {"names": (name,), "shown": ("itself",)}
    # What comes from a neighbour's own neighbours comes through it.
    most = preprocessor.spec.neighbours
    further = attribution[1 + most :].reshape(-1, most, attribution.shape[-1]) if len(attribution) > 1 + most else 0
    values = attribution[1 : 1 + most].sum(axis=-1) + np.sum(further, axis=(1, 2) if np.ndim(further) else None)
    names, shown = zip(*neighbours, strict=True) if neighbours else ((), ())
    return np.array([own, *values[: len(neighbours)]]), {"names": (name, *names), "shown": ("itself", *shown)}


# {layout: function(preprocessor, tensor, attribution, raw) -> (map, fields of its Panel)}
PANELS = {
    "image": _image,
    "views": _pictures,
    "video": _pictures,
    "text": _text,
    "audio": _audio,
    "tabular": _tabular,
    "vector": _vector,
    "series": _series,
    "entity": _entity,
}


def make_panel(preprocessor, tensor, attribution, raw):
    """Lays one input out for a person.

    Args:
        preprocessor: The input's.
        tensor: Its model tensor, without a batch axis.
        attribution: Signed array, shaped as the input where it enters the model.
        raw: `{field: value}` that the tensor was made of.

    Returns:
        `(map, Panel)`: the map is `(height, width)` for a picture, `(pictures, height, width)` for views and videos,
        `(tokens,)` for a text, or `(characters,)` when its tokens are bytes, `(mels, frames)` for a sound,
        `(columns,)` for a table, `(features,)` for a vector and `(steps, features)` for a sequence, and for an entity
        itself and then its neighbours; the pictures and steps are those up to the last one there is.
    """
    kind = preprocessor.spec.layout
    values, seen = PANELS[kind](preprocessor, tensor, attribution, raw)
    return values, Panel(kind=kind, missing=not np.any(tensor), drawn=preprocessor.draw(tensor), **seen)


def _plain_image(tensor, blank, attribution, names):
    pixels = np.asarray(tensor, np.float64).reshape(*tensor.shape[:2], -1)
    low, high = value_range(pixels)
    # A picture of one value outside of every usual range has no width: it is drawn black.
    shown = np.round(255 * (pixels - low) / ((high - low) or 1.0)).astype(np.uint8)
    if shown.shape[-1] not in (3, 4):
        shown = np.repeat(shown.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    values = attribution.reshape(*tensor.shape[:2], -1).sum(axis=-1)
    return values, {"kind": "image", "drawn": shown}


def _plain_text(tensor, blank, attribution, names):
    kept = tensor != blank
    values = attribution.reshape(len(tensor), -1).sum(axis=-1)[kept]
    return values, {"kind": "text", "drawn": [], "names": _names(names, tensor, tensor[kept], str)}


def _plain_steps(tensor, blank, attribution, names):
    drawn = np.asarray(tensor, np.float64).reshape(len(tensor), -1)
    values = attribution.reshape(drawn.shape)
    features = np.arange(drawn.shape[1])
    return values, {"kind": "series", "drawn": drawn, "names": _names(names, tensor, features, "feature {}".format)}


def _plain_table(tensor, blank, attribution, names):
    # A column of ids enters as a vector.
    values = attribution.reshape(tensor.size, -1).sum(axis=-1)
    shown, columns = tuple(f"{v:.6g}" for v in tensor.ravel()), np.arange(tensor.size)
    drawn = {"kind": "vector", "drawn": np.asarray(tensor, np.float64).ravel(), "shown": shown}
    return values, drawn | {"names": _names(names, tensor, columns, "feature {}".format)}


# {kind: function(tensor, blank, attribution, names) -> (map, fields of its Panel)}, of models built elsewhere.
PLAIN = {
    "image": _plain_image,
    "text": _plain_text,
    "audio": _plain_steps,
    "tabular": _plain_table,
    "vector": _plain_table,
    "series": _plain_steps,
}


def value_range(pixels):
    """Returns `(low, high)`: the first usual range that a picture's values lie in, else their own."""
    low, high = float(pixels.min()), float(pixels.max())
    return next(((a, b) for a, b in RANGES if a <= low and high <= b), (low, high))


def make_plain_panel(kind, tensor, blank, attribution, names=None):
    """Lays one input of a model built elsewhere out for a person.

    Args:
        kind: A key of `PLAIN`.
        tensor: The input, without a batch axis.
        blank: What stands for nothing there; of a text, its ids are padding.
        attribution: Signed array, shaped as the input where it enters the model.
        names: A list of the words by id, or of the columns or features; or a function of the tensor to the names of its
            parts, of a text without its padding. Defaults to numbers.

    Returns:
        `(map, Panel)`, laid out as by `make_panel`; a sound, of which neither rate nor bands are known, as a sequence
        `(steps, features)`, a waveform with one feature.

    Raises:
        DataError: When there are not as many names as parts.
    """
    values, seen = PLAIN[kind](tensor, blank, attribution, names)
    return values, Panel(missing=bool(np.all(tensor == blank)), **seen)


def _names(names, tensor, numbers, default):
    """Returns the names of parts with these ids or numbers."""
    if names is None:
        return tuple(default(n) for n in numbers)
    found = list(names(tensor)) if callable(names) else [names[n] if n < len(names) else default(n) for n in numbers]
    if len(found) != len(numbers):
        raise DataError(f"`names` gives {len(found)} names for {len(numbers)} parts. Received: {found[:5]}")
    return tuple(str(name) for name in found)


def _number(value):
    """Six digits: what float32 keeps of a number that was standardised and back."""
    if value is None:
        return "(missing)"
    return value if isinstance(value, str) else f"{value:.6g}"


def _at_most(pixels, side):
    """Shrinks a picture whose longer side is more."""
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return pixels
    share = side / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Picture.fromarray(pixels).resize(size, Picture.Resampling.LANCZOS))
