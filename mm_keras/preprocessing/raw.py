"""Raw examples -> model tensors, a batch at a time: the function that the served model also runs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.preprocessing.guard import decode_rows
from mm_keras.preprocessing.parts import list_frames, padded, sample_evenly, split_paths
from mm_keras.registry import nearest


def raw_specs(preprocessors):
    """Returns `{field: tf.TensorSpec((None, ...))}`: the raw signature of all inputs together."""
    specs = [p.raw_specs for p in preprocessors.values()]
    return {f: tf.TensorSpec([None, *s.shape], s.dtype, name=f) for group in specs for f, s in group.items()}


def preprocess(preprocessors, raw):
    """Turns a batch of raw values into model tensors, in graph ops; a bad value counts as missing.

    So does a value of more bytes than its preprocessor's `most_bytes`, before anything looks at it.

    Args:
        preprocessors: `{input: preprocessor}`.
        raw: `{field: tensor (batch, ...)}`, as `raw_specs` says.

    Returns:
        `({input: model tensor}, {input: bool (batch,)})`; the second is `False` where the value was bad.

    Raises:
        DataError: When a field is absent or surplus.
    """
    fields = [field for p in preprocessors.values() for field in p.raw_specs]
    if raw.keys() != set(fields):
        absent, surplus = sorted(set(fields) - raw.keys()), sorted(raw.keys() - set(fields))
        raise DataError(f"expected the fields {sorted(fields)}. Absent: {absent}. Surplus: {surplus}.")
    tensors, fine = {}, {}
    for name, p in preprocessors.items():
        own = {field: raw[field] for field in p.raw_specs}
        if (most := p.most_bytes) is not None:
            small = _bytes(own) <= most
            own = {f: _blank_where(~small, v, p.blank[f]) for f, v in own.items()}
        else:
            small = True
        if p.row_wise:
            rows, fine[name] = decode_rows(p.decode, tf.zeros(p.decoded_shape), own)
            tensors[name] = p.finish(rows)
        else:
            fine[name] = p.check(own)
            own = {f: _blank_where(~fine[name], v, p.blank[f]) for f, v in own.items()}
            tensors[name] = p.finish(p.decode(own))
        fine[name] &= small
    return tensors, fine


def error_text(preprocessors, raw, fine):
    """Says why values are bad, in graph ops.

    Args:
        preprocessors: `{input: preprocessor}`.
        raw: `{field: tensor (batch, ...)}`, as `preprocess` took it.
        fine: `{input: bool (batch,)}`, as `preprocess` gave it.

    Returns:
        String `(batch,)`: `"photo: not a JPEG, PNG, GIF or BMP; "` of each bad value in a row; else empty.
    """
    texts = []
    for name, p in preprocessors.items():
        own = {field: raw[field] for field in p.raw_specs}
        why = p.why(own)
        if (most := p.most_bytes) is not None:
            why = tf.where(_bytes(own) > most, f"over {most} bytes", why)
        texts.append(tf.where(fine[name], "", tf.strings.join([f"{name}: ", why, "; "])))
    return tf.strings.join(texts)


def _bytes(raw):
    """Returns int64 `(batch,)`: how long the strings of one input are together."""
    lengths = [tf.cast(tf.strings.length(v), tf.int64) for v in raw.values() if v.dtype == tf.string]
    return tf.add_n([tf.reduce_sum(n, axis=1) if n.shape.rank == 2 else n for n in lengths])


def _blank_where(bad, values, blank):
    bad = tf.reshape(bad, [-1] + [1] * (len(values.shape) - 1))
    return tf.where(bad, tf.constant(blank, values.dtype), values)


def raw_batch(preprocessors, examples):
    """Turns examples as people have them into arrays for `preprocess`.

    Args:
        preprocessors: `{input: preprocessor}`.
        examples: Sequence of `{field: value}`. A picture or sound is bytes or a path; pictures may be uint8 arrays
            `(height, width, channels)`; a vector is a sequence of numbers, with `steps` an array `(any number of steps,
            features)`. Several views are a list of pictures; a video is a GIF, a folder, or a list of frames. An absent
            field, `None` or NaN is missing.

    Returns:
        `{field: array (rows, ...)}`.

    Raises:
        DataError: On an unknown field, an absent file, or a value of the wrong kind, with the row.
    """
    fields = {f: (p, s) for p in preprocessors.values() for f, s in p.raw_specs.items()}
    if isinstance(examples, Mapping) or not len(examples):
        raise DataError(f"expected a list of examples, one at least. Received: {type(examples).__name__}")
    for row, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise DataError(f"example {row}: expected a mapping. Received: {type(example).__name__}")
        for key in example:
            if key not in fields:
                raise DataError(f"example {row}: unknown field {key!r}.{nearest(key, fields)} Fields: {sorted(fields)}")
    return {
        field: np.array(
            [_raw_value(e.get(field), p, field, spec, row) for row, e in enumerate(examples)],
            dtype=object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype,
        )
        for field, (p, spec) in fields.items()
    }


def _raw_value(value, preprocessor, field, spec, row):
    if spec.dtype == tf.string and spec.shape.rank:
        return _raw_parts(value, preprocessor, field, row)
    is_missing = _is_missing(value)
    if spec.shape.rank == 2:
        return _raw_steps(preprocessor.blank[field] if is_missing else value, preprocessor, field, spec, row)
    if is_missing:
        return preprocessor.blank[field]
    if spec.dtype == tf.string:
        return _raw_bytes(value, preprocessor, field, row)
    try:
        with np.errstate(over="ignore"):
            number = np.asarray(value).astype(np.float32)
    except (TypeError, ValueError):
        raise DataError(f"example {row}, field {field!r}: expected {_wanted(spec)}. Received: {value!r}") from None
    if number.shape != tuple(spec.shape):
        raise DataError(f"example {row}, field {field!r}: expected {_wanted(spec)}. Received: shape {number.shape}")
    return number


def _is_missing(value):
    return value is None or (isinstance(value, float | np.floating) and np.isnan(value))


def _raw_steps(value, preprocessor, field, spec, row):
    """Returns float32 `(steps, features)`, cut or padded with NaN: rows of a batch are of one length."""
    wanted = f"(any number of steps, {spec.shape[1]} features)"
    try:
        with np.errstate(over="ignore"):
            numbers = np.asarray([np.asarray(step) for step in value]).astype(np.float32)
    except (TypeError, ValueError):
        raise DataError(f"example {row}, field {field!r}: expected {wanted}. Received: {value!r}") from None
    if numbers.ndim != 2 or numbers.shape[1] != spec.shape[1]:
        raise DataError(f"example {row}, field {field!r}: expected {wanted}. Received: shape {numbers.shape}")
    steps = preprocessor.spec.steps
    return np.pad(numbers[:steps], [(0, max(steps - len(numbers), 0)), (0, 0)], constant_values=np.nan)


def _raw_parts(value, preprocessor, field, row):
    """Returns an object array of as many bytes as the input has files; a video that has more is sampled evenly."""
    most = preprocessor.parts
    if _is_missing(value):
        return padded([], most, b"")
    if isinstance(value, bytes):
        parts = [value]
    elif isinstance(value, list | tuple | np.ndarray):
        parts = [value] if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim < 4 else list(value)
    else:
        try:
            parts = split_paths(value)
            if preprocessor.spec.kind == "video" and len(parts) == 1 and Path(parts[0]).is_dir():
                parts = list_frames(parts[0])
        except ValueError as error:
            raise DataError(f"example {row}, field {field!r}: {error}") from None
    if preprocessor.spec.kind == "video":
        parts = [part for part in parts if not _is_empty(part)]
        parts = [parts[i] for i in sample_evenly(len(parts), most)]
    elif len(parts) > most:
        raise DataError(f"example {row}, field {field!r}: expected at most {most} pictures. Received: {len(parts)}")
    return padded((b"" if _is_empty(p) else _raw_bytes(p, preprocessor, field, row) for p in parts), most, b"")


def _is_empty(part):
    return part is None or (isinstance(part, str | bytes) and not part)


def _wanted(spec):
    return f"{spec.shape[0]} numbers" if len(spec.shape) else "a number"


def _raw_bytes(value, preprocessor, field, row):
    if isinstance(value, np.ndarray) and preprocessor.spec.kind in ("image", "video"):
        pixels = value[..., None] if value.ndim == 2 else value
        if value.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4):
            wanted = "uint8 (height, width), or with 1, 3 or 4 channels"
            raise DataError(f"example {row}, field {field!r}: expected {wanted}. Received: {value.dtype} {value.shape}")
        return tf.io.encode_png(pixels).numpy()
    if preprocessor.reads_files and isinstance(value, str | Path) and str(value):
        try:
            return Path(value).read_bytes()
        except OSError as error:
            raise DataError(f"example {row}, field {field!r}: cannot read {str(value)!r}: {error.strerror}") from None
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) or (np.isscalar(value) and not preprocessor.reads_files):
        return str(value).encode(errors="surrogatepass")  # half an emoji is what JSON may hold; the tokenizer takes it
    raise DataError(f"example {row}, field {field!r}: expected text, bytes or a path. Received: {type(value).__name__}")
