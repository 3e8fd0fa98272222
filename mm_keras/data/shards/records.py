"""One row <-> one `tf.train.Example` of raw values."""

from functools import cache, lru_cache

import numpy as np
import tensorflow as tf

from mm_keras.errors import DataError


def describe_fields(recipe, lengths):
    """Returns `{feature: {"type", "shape", "of"}}`: what an Example of a recipe's rows holds.

    Names are `id`, `row` (number in the table, 1 the first), `group`, `input/<name>`, for tables
    `input/<name>/<field>`, and `label/<task>`. Types are `bytes` (encoded pictures, WAV, UTF-8), `float32` and `int64`.
    A missing value is empty bytes or NaN. Frames and steps that a row lacks are blanks at the end.

    Args:
        recipe: A `Recipe`.
        lengths: `{input: count of features}` of the vector inputs.
    """
    fields = {"id": _field("bytes"), "row": _field("int64"), "group": _field("bytes")}
    for name, spec in recipe.inputs.items():
        key, kind = f"input/{name}", spec.kind
        if kind == "tabular":
            for column, field in spec.fields().items():
                fields[f"{key}/{field}"] = _field("float32" if column in spec.numeric else "bytes", (), kind)
        elif kind == "vector":
            shape = (spec.steps, lengths[name]) if spec.steps else (lengths[name],)
            fields[key] = _field("float32", shape, kind)
        elif kind == "video":
            fields[key] = _field("bytes", (spec.frames,), kind)
        elif spec.layout == "views":
            fields[key] = _field("bytes", (spec.views,), kind)
        else:
            fields[key] = _field("bytes", (), kind)
    for task, spec in recipe.tasks.items():
        fields[f"label/{task}"] = _field("bytes" if spec.kind == "classification" else "float32", (), spec.kind)
    return fields


def _field(kind, shape=(), of=None):
    return {"type": kind, "shape": list(shape)} | ({} if of is None else {"of": of})


def encode_row(values):
    """Returns the bytes of an Example, the same for the same values.

    Args:
        values: `{feature: int, bytes, list of bytes, or float32 array}`.
    """
    # By hand, in less than half the time that messages take. A map has no order of its own; this is the one in which
    # protocol buffers write it, when asked for the same bytes each time.
    entries = [_sized(1, _key(name) + _sized(2, _feature(values[name]))) for name in sorted(values, key=_rank)]
    return _sized(1, b"".join(entries))


def _feature(value):
    """Returns the bytes of a `tf.train.Feature`: a list of bytes is field 1, of floats 2, of whole numbers 3."""
    if isinstance(value, bytes):
        return _sized(1, _sized(1, value))
    if isinstance(value, list):
        return _sized(1, b"".join([_sized(1, item) for item in value]))
    if isinstance(value, int):
        return _sized(3, _sized(1, _varint(value)))
    floats = np.ravel(value).astype("<f4").tobytes()
    return _sized(2, _sized(1, floats) if floats else b"")


_TAGS = {number: bytes([number << 3 | 2]) for number in (1, 2, 3)}


def _sized(number, content):
    """Returns a field of protocol buffers: its number and kind, the length of its content, its content."""
    return _TAGS[number] + _varint(len(content)) + content


@cache
def _rank(name):
    return name.encode() + b"\xff"  # a byte that no text has: of two names, one the other's beginning, the longer first


@cache
def _key(name):
    return _sized(1, name.encode())


@lru_cache(2**14)
def _varint(number):
    """Returns a whole number in groups of 7 bits, the lowest first; a negative one as 64 bits of two's complement."""
    number &= 2**64 - 1
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


DTYPES = {"bytes": tf.string, "float32": tf.float32, "int64": tf.int64}


def parser(fields, names):
    """Returns the function that parses a batch of Examples, or one, in the graph.

    Args:
        fields: As `describe_fields` gives them.
        names: The features wanted.

    Returns:
        Function of strings `(batch,)` or `()` to `{feature: tensor (batch, ...)}` or `{feature: tensor (...)}`.
    """
    specs = {n: tf.io.FixedLenFeature(fields[n]["shape"], DTYPES[fields[n]["type"]]) for n in names}

    def parse(serialized):
        if serialized.shape.rank:
            return tf.io.parse_example(serialized, specs)
        return tf.io.parse_single_example(serialized, specs)

    return parse


def features_of(inputs, fields, names):
    """Returns the features that hold some inputs.

    Args:
        inputs: `{name: input}` of a recipe.
        fields: As `describe_fields` gives them.
        names: Of the inputs.
    """
    found = []
    for name in names:
        own = inputs[name].fields().values() if inputs[name].kind == "tabular" else [""]
        found += [f"input/{name}/{field}" if field else f"input/{name}" for field in own]
    if absent := [f for f in found if f not in fields]:
        raise DataError(f"the shards lack {absent}. They hold: {sorted(fields)}")
    return found


def cells_of(inputs, names, parsed):
    """Returns `{input: tensor, or {field: tensor} of a table}` of parsed features."""
    return {
        name: {f: parsed[f"input/{name}/{f}"] for f in inputs[name].fields().values()}
        if inputs[name].kind == "tabular"
        else parsed[f"input/{name}"]
        for name in names
    }
