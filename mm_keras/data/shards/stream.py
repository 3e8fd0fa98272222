"""Rows of shards as datasets: file by file, shuffled without a state, decoded in parallel."""

import math

import numpy as np
import tensorflow as tf

from mm_keras.data.shards.records import cells_of, features_of, parser
from mm_keras.errors import DataError
from mm_keras.preprocessing.chain import PLAIN

# Of a shuffled pass: so many shards are read in turns, and so many bytes and rows, at most, change places at a time.
OPEN_SHARDS, BLOCK_BYTES, BLOCK_ROWS = 8, 2**25, 8192


def stream_pass(preprocessors, rows, batch_size, epochs=None, tasks=()):
    """Returns the function of an epoch that gives the dataset of its batches.

    A shuffled pass takes the shards in an order drawn for the epoch, reads several in turns, and shuffles blocks of
    what comes. All of it is a function of seed and epoch, so that `skip` of the dataset goes on exactly where an
    earlier one ended, and none of it grows with the number of rows.

    Args:
        preprocessors: `{input: preprocessor}`, adapted.
        rows: A `ShardedRows`.
        batch_size: Rows in a batch; the last may have fewer.
        epochs: The `Epochs` of a training. `None` is one pass in order.
        tasks: The tasks whose labels come along.

    Returns:
        Function of a scalar int64 epoch to a dataset of `(epoch, row numbers (batch,), {input: decoded}, {input:
        cells}, {task: labels})`; decoded are inputs of files, as `decode_packed` gives them, cells
        the others.
    """
    inputs, fields = rows.recipe.inputs, rows.shards.info["fields"]
    files = {n: p for n, p in preprocessors.items() if p.row_wise}
    small = [n for n in preprocessors if n not in files]
    names = features_of(inputs, fields, preprocessors) + [f"label/{task}" for task in tasks]
    parse = parser(fields, names)

    def parts(parsed):
        return cells_of(inputs, small, parsed), {task: parsed[f"label/{task}"] for task in tasks}

    @PLAIN
    def decode(i, record):
        parsed = parse(record)
        return i, {n: p.decode_packed({n: parsed[f"input/{n}"]}) for n, p in files.items()}, *parts(parsed)

    @PLAIN
    def one_pass(epoch):
        key = None if epochs is None or not epochs.shuffle else epochs.key(epoch)
        records = numbered_records(rows, key)
        if epochs is not None:
            records = epochs.own(records, batch_size)
        if files:
            batches = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
            return batches.map(lambda *batch: (epoch, *batch))
        batches = records.batch(batch_size)
        return batches.map(lambda i, batch: (epoch, i, {}, *parts(parse(batch))), num_parallel_calls=tf.data.AUTOTUNE)

    return one_pass


def numbered_records(rows, key=None):
    """Returns the dataset of `(row number, serialized Example)` of some rows.

    Args:
        rows: A `ShardedRows`.
        key: Two int64 that shuffle, or `None` for the rows' own order.
    """
    paths, starts, counts = rows.shard_table()
    if not len(paths):
        return tf.data.Dataset.from_tensors((tf.constant(0, tf.int64), tf.constant(b""))).take(0)
    paths, starts, counts = tf.constant(paths, tf.string), tf.constant(starts, tf.int64), tf.constant(counts, tf.int64)
    most = paths.shape[0]

    @PLAIN
    def read(shard):
        numbers = tf.data.Dataset.range(starts[shard], starts[shard] + counts[shard])
        return tf.data.Dataset.zip(numbers, tf.data.TFRecordDataset(paths[shard]))

    shards = tf.data.Dataset.range(most)
    if key is None:
        records = shards.flat_map(read)
    else:
        last = tf.constant(most - 1, tf.int64)
        shards = shards.map(PLAIN(lambda i: tf.random.experimental.index_shuffle(i, seed=key, max_index=last)))
        records = shards.interleave(read, cycle_length=min(OPEN_SHARDS, most), block_length=1)
    # Of a shard that was cut between two records, TensorFlow says nothing.
    records = records.apply(tf.data.experimental.assert_cardinality(int(rows.shard_table()[2].sum())))
    if rows.chosen is not None:
        rank = tf.constant(rows.rank())
        records = records.map(PLAIN(lambda i, record: (rank[i], record))).filter(PLAIN(lambda i, _: i >= 0))
        records = records.apply(tf.data.experimental.assert_cardinality(len(rows)))
    return records if key is None else _shuffled(records, rows, key)


def _shuffled(records, rows, key):
    size = max(1, min(BLOCK_ROWS, int(BLOCK_BYTES / max(rows.row_bytes, 1))))

    @PLAIN
    def permuted(number, block):
        draws = tf.random.stateless_uniform(tf.shape(block[0]), tf.random.fold_in(key, number))
        order = tf.argsort(draws)
        return tf.data.Dataset.from_tensor_slices(tuple(tf.gather(part, order) for part in block))

    blocks = records.batch(size).enumerate()
    shuffled = blocks.flat_map(lambda number, block: permuted(number, block))
    return shuffled.apply(tf.data.experimental.assert_cardinality(len(rows)))


def column_parts(rows, kind, name, size=1024):
    """Yields a column of some rows, as `Rows` has it, some rows at a time.

    Args:
        rows: A `ShardedRows`.
        kind: `"input"`, `"label"`, or `""` for `id`, `row` and `group`.
        name: Of the input, the task or the column. Files come as their bytes.
        size: Rows at a time.
    """
    fields, inputs = rows.shards.info["fields"], rows.recipe.inputs
    names = features_of(inputs, fields, [name]) if kind == "input" else [f"label/{name}" if kind else name]
    parse = parser(fields, names)
    batches = numbered_records(rows).batch(size).map(PLAIN(lambda _, batch: parse(batch))).prefetch(1)

    def value(array):
        if array.dtype != object:
            return array
        return array if is_file else _texts(array)

    is_file = kind == "input" and inputs[name].kind in ("image", "audio", "video")
    for parsed in batches.as_numpy_iterator():
        if kind == "input" and inputs[name].kind == "tabular":
            yield {f: value(parsed[f"input/{name}/{f}"]) for f in inputs[name].fields().values()}
        else:
            yield value(parsed[names[0]])


def _texts(array):
    flat = [v.decode("utf-8", "surrogatepass") for v in array.reshape(-1)]
    return padded_like(flat, array.shape)


def padded_like(values, shape):
    """Returns an object array of a shape."""
    array = np.empty(math.prod(shape), dtype=object)
    array[:] = values
    return array.reshape(shape)


def read_records(rows, numbers):
    """Returns the parsed Examples of a few rows, `{feature: array (rows, ...)}`.

    Raises:
        DataError: When there are none.
    """
    picked = rows.take(numbers)
    if not len(picked):
        raise DataError(f"{rows.shards.place}: no rows.")
    parse = parser(rows.shards.info["fields"], list(rows.shards.info["fields"]))
    batch = numbered_records(picked).batch(len(picked)).map(PLAIN(lambda _, batch: parse(batch)))
    return next(batch.as_numpy_iterator())
