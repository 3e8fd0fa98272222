"""The signature `device` of LiteRT files: what a camera, a microphone and an app's own numbers give -> model tensors.

Its fields are those of the raw signature of the SavedModel, one example at a time. What a phone decodes itself is
already decoded: pixels instead of a file, samples instead of a file, ids instead of a text.
"""

import struct
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mm_keras.exporting.kept import KEPT_ROWS
from mm_keras.exporting.sample import encode_raw
from mm_keras.preprocessing.augmentation.pictures import GREY
from mm_keras.preprocessing.image import ImagePreprocessor
from mm_keras.preprocessing.raw import raw_batch

_PICTURES = ("image", "views", "video")
_FLOAT_WAV, _HEADER_BYTES = 3, 36
# The largest float32; a NaN is not below it either. LiteRT has no op for `is_finite`.
_LARGEST = float(np.finfo(np.float32).max)


def device_specs(preprocessors):
    """Returns `{field: tf.TensorSpec((1, ...))}`: what one example is on a device."""
    return {
        field: tf.TensorSpec([1, *shape], dtype, name=field)
        for p in preprocessors.values()
        for field, (shape, dtype) in _fields(p).items()
    }


def _fields(p):
    """Returns `{field: (shape, dtype)}` of one example of an input."""
    layout, shape = p.spec.layout, p.tensor.shape
    if layout in _PICTURES:
        return {p.name: ((*shape[:-1], _channels(p)), "uint8")}
    if layout == "audio":
        return {p.name: ((p.samples,), "float32")}
    if layout == "tabular":
        return {f: ((), "int32" if f in p.categorical else "float32") for f in p.raw_specs}
    if layout in ("vector", "series"):
        steps = (p.spec.steps,) if layout == "series" else ()
        return {p.name: ((*steps, len(p.state["mean"])), "float32")}
    return {p.name: (shape, p.tensor.dtype)}  # ids


def _channels(p):
    """Cameras give colours, also where the model takes grey."""
    return max(p.tensor.shape[-1], 3)


def from_device(preprocessors, values):
    """Turns the values of one example, or of a batch, into model tensors, in ops that stock LiteRT has.

    Args:
        preprocessors: `{input: preprocessor}`.
        values: `{field: tensor (batch, ...)}`, as `device_specs` says.

    Returns:
        `{input: model tensor}`.
    """
    return {name: _tensor(p, {f: values[f] for f in _fields(p)}) for name, p in preprocessors.items()}


def _tensor(p, values):
    layout, value = p.spec.layout, values.get(p.name)
    if layout in _PICTURES:
        pixels = tf.cast(value, tf.float32) / 255.0
        if p.tensor.shape[-1] != 1:
            return pixels
        grey = tf.reduce_sum(pixels * GREY, axis=-1, keepdims=True)
        return tf.round(255.0 * grey) / 255.0 if getattr(p.spec, "whole_levels", False) else grey
    if layout == "audio":
        return _sound(p, value)
    if layout == "tabular":
        return _row(p, values)
    if layout in ("vector", "series"):
        mean, deviation = (tf.constant(p.state[k], tf.float32) for k in ("mean", "deviation"))
        scaled = (value - mean) / deviation
        whole = tf.reduce_all(_is_finite(scaled), axis=-1, keepdims=True)
        kept = tf.where(whole, scaled, 0.0)
        return kept if layout == "vector" else tf.concat([kept, tf.cast(whole, tf.float32)], axis=-1)
    return tf.identity(value)


def _sound(p, samples):
    """As `finish`, but that bins which no band hears are left out: they are most of the constants of a phone's file."""
    heard = np.flatnonzero(p.filters.any(axis=1))
    used = slice(int(heard[0]), int(heard[-1]) + 1)
    return p.log_mel(tf.matmul(p.spectrum(samples)[:, used], p.filters[used]))


def _row(p, values):
    parts = []
    for field in p.numeric:
        scaled = (values[field] - p.state["mean"][field]) / p.state["deviation"][field]
        present = _is_finite(scaled)
        parts.append(tf.stack([tf.where(present, scaled, 0.0), tf.cast(present, tf.float32)], axis=1))
    for field in p.categorical:
        places = tf.range(1 + len(p.state["categories"][field]))  # -1, which is missing, is none of them
        parts.append(tf.cast(tf.equal(values[field][:, None], places[None]), tf.float32))
    return tf.concat(parts, axis=1)


def _is_finite(x):
    return tf.abs(x) <= _LARGEST


def device_blank(p):
    """Returns `{field: value}` that means missing on a device."""
    if p.spec.layout == "tabular":
        return {f: -1 if f in p.categorical else np.nan for f in p.raw_specs}
    return {p.name: np.nan if p.spec.layout in ("vector", "series") else 0}


def blank_device_fields(values, preprocessors, subset):
    """Returns the device's values with the fields of the inputs outside `subset` blank."""
    values = dict(values)
    for name, p in preprocessors.items():
        for field, blank in device_blank(p).items() if name not in subset else ():
            values[field] = np.full_like(values[field], blank)
    return values


@dataclass(frozen=True)
class DeviceRows:
    """Rows for the signature `device`, for each subset of the inputs; all of them with all inputs, some with others.

    Args:
        values: `[{field: array (rows, ...)}]` per subset.
        tensors: `[{input: array (rows, ...)}]`, the model tensors of the same.
        count: How many rows the other subsets have.
    """

    values: list
    tensors: list
    count: int


def draw_device_rows(run, raw, subsets, count=KEPT_ROWS):
    """Returns the `DeviceRows` of raw rows, `{field: array}`, as a client sends them."""
    values, tensors = device_rows(run, raw)
    values = [{f: v if i == 0 else v[:count] for f, v in values.items()} for i in range(len(subsets))]
    tensors = [{n: t if i == 0 else t[:count] for n, t in tensors.items()} for i in range(len(subsets))]
    return DeviceRows(
        [blank_device_fields(v, run.preprocessors, s) for v, s in zip(values, subsets, strict=True)],
        [{n: t if n in s else np.zeros_like(t) for n, t in given.items()}
         for given, s in zip(tensors, subsets, strict=True)],
        count,
    )  # fmt: skip


def device_rows(run, raw):
    """Turns raw rows into what a device would give for them, and into the model tensors of just that.

    The second go the way of the served model, through files: pictures as PNG of those pixels, sounds as WAV of those
    samples. So they tell whether the device's own way leads to the same place.

    Args:
        run: A `Run`.
        raw: `{field: array (rows, ...)}`, as a client sends them.

    Returns:
        `({field: array (rows, ...)}, {input: model tensors})`.
    """
    tensors, _ = encode_raw(run, raw)
    values, again = {}, dict(raw)
    for name, p in run.preprocessors.items():
        own = {f: raw[f] for f in p.raw_specs}
        if p.spec.layout in _PICTURES:
            values[name] = _pixels(p, own[name])
            again[name] = _picture_files(p, values[name])
        elif p.spec.layout == "audio":
            values[name] = np.stack([p.decode({name: tf.constant(v)}).numpy() if _is_fine(p, v) else
                                     np.zeros(p.samples, np.float32) for v in own[name]])  # fmt: skip
            wavs = [wav_file(v, p.spec.sampling_rate) if v.any() else b"" for v in values[name]]
            again[name] = np.array(wavs, object)
        elif p.spec.layout == "tabular":
            values |= {f: own[f] for f in p.numeric}
            values |= {f: _numbers(p.state["categories"][f], own[f]) for f in p.categorical}
        elif p.spec.layout in ("vector", "series"):
            values[name] = own[name]
        else:
            values[name] = tensors[name]
    return values, encode_raw(run, again)[0]


def _is_fine(p, contents):
    try:
        p.decode({p.name: tf.constant(contents)})
    except tf.errors.OpError:
        return False
    return True


def _pixels(p, raw):
    """Decodes and resizes as the served model does, in colour, and rounds to whole numbers."""
    single = getattr(p, "single", p)
    colour = ImagePreprocessor(p.name, single.spec.model_copy(update={"channels": _channels(p)}))
    if p.spec.layout == "image":
        other = colour
    else:
        other = type(p)(p.name, p.spec)
        other.single = colour
    shape = (*p.tensor.shape[:-1], _channels(p))
    rows = []
    for contents in raw:
        try:
            pixels = np.rint(255 * _decoded(other, contents, shape)).astype(np.uint8)
        except tf.errors.OpError:
            pixels = np.zeros(shape, np.uint8)
        rows.append(pixels)
    return np.stack(rows)


def _decoded(p, contents, shape):
    if p.spec.layout == "image":
        return p.decode({p.name: tf.constant(contents)}).numpy()
    if p.spec.layout == "views":
        return np.stack([p.single.decode({p.name: tf.constant(c)}).numpy() for c in contents])
    frames = [p.single.decode({p.name: tf.constant(c)}).numpy() for c in contents if c]
    found = np.zeros(shape, np.float32)
    for i, frame in enumerate(frames[: len(found)]):
        found[i] = np.maximum(frame, 1 / 255) if not frame.any() else frame
    return found


def _picture_files(p, pixels):
    parts = p.spec.layout != "image"
    examples = [[x for x in row if x.any()] if parts else (row if row.any() else None) for row in pixels]
    if p.spec.layout == "views":  # an absent view keeps its place
        examples = [[x if x.any() else b"" for x in row] for row in pixels]
    return raw_batch({p.name: p}, [{p.name: e} for e in examples])[p.name]


def _numbers(categories, cells):
    places = {c.encode(): i for i, c in enumerate(categories, 1)} | {b"": -1}
    return np.array([places.get(c if isinstance(c, bytes) else str(c).encode(), 0) for c in cells], np.int32)


def wav_file(samples, rate):
    """Returns the bytes of a WAV file of float32 samples, one channel."""
    data = np.asarray(samples, "<f4").tobytes()
    form = struct.pack("<HHIIHH", _FLOAT_WAV, 1, rate, 4 * rate, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def device_schema(p):
    """Returns `{field: {"input", "dtype", "shape", "range", "blank", "meaning"}}` of an input, for JSON."""
    blank = {f: "NaN" if np.isnan(v) else v for f, v in device_blank(p).items()}
    found = {}
    for field, (shape, dtype) in _fields(p).items():
        meaning, span = _MEANINGS[p.spec.layout](p, field)
        found[field] = {
            "input": p.name, "dtype": dtype, "shape": [1, *shape], "range": span, "blank": blank[field],
            "meaning": meaning,
        }  # fmt: skip
    return found


def _picture_meaning(p, field):
    colours = "RGBA, not multiplied by alpha" if _channels(p) == 4 else "RGB"
    several = {
        "image": "",
        "views": " of each view; all zeros where there is none",
        "video": " of each frame in order, all zeros after the last; a black frame is 1 everywhere",
    }[p.spec.layout]
    return f"{colours} pixels, resized by the app{several}", [0, 255]


def _audio_meaning(p, field):
    return f"mono samples at {p.spec.sampling_rate} Hz, zeros after the last", [-1.0, 1.0]


def _tabular_meaning(p, field):
    if field in p.numeric:
        return "a number, in the unit of the training rows", None
    names = p.state["categories"][field]
    return f"0 is unknown, then from 1 on: {names}; -1 is missing", [-1, len(names)]


def _text_meaning(p, field):
    return "ids of `tokenizer.py` or `WordPiece.java` with `vocab.json`", [0, p.tensor.vocabulary_size - 1]


def _numbers_meaning(p, field):
    of = "; all NaN in a step that is not there" if p.spec.layout == "series" else ""
    return f"numbers in the units of the training rows{of}", None


def _entity_meaning(p, field):
    return f"place of the name in `{p.name}_vocabulary.json`; 0 is missing", [0, p.tensor.vocabulary_size - 1]


_MEANINGS = dict.fromkeys(_PICTURES, _picture_meaning) | {
    "audio": _audio_meaning,
    "tabular": _tabular_meaning,
    "text": _text_meaning,
    "vector": _numbers_meaning,
    "series": _numbers_meaning,
    "entity": _entity_meaning,
}
