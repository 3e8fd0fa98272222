"""One row <-> one `tf.train.Example` of raw values."""

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
    features = {}
    for name, value in values.items():
        if isinstance(value, bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif isinstance(value, list):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        elif isinstance(value, int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)  # a map has no order of its own


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
