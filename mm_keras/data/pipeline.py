"""The one tf.data chain: shuffle row numbers, read and decode in parallel, batch, finish the batch, prefetch."""

import tensorflow as tf

from mm_keras.data.bucketing import trim
from mm_keras.data.caching import Cache, decoded_bytes, keep_decoded
from mm_keras.data.mixing import check_mixing, mix_batch
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.data.shards.stream import stream_pass
from mm_keras.preprocessing.augmentation import keep_presence, stream
from mm_keras.preprocessing.chain import AHEAD, PLAIN, untuned


def make_dataset(preprocessors, rows, *, batch_size, labels=None, epochs=None, cache=None, packed=(), trimmed=()):
    """Streams the rows as batches of model tensors.

    All epochs are one dataset, since each new iterator costs as much as several steps of a small model.

    Args:
        preprocessors: `{input: preprocessor}`, adapted.
        rows: A `Rows`, of which only file names and small cells are in memory; or a `ShardedRows`, of which nothing is.
        batch_size: Rows in a batch; the last may have fewer.
        labels: `({key: target (rows, ...)}, {key: weight (rows,)})` for the loss, arrays, or `None`. Of a `ShardedRows`
            a `GraphLabels`.
        epochs: The `Epochs` of a training. `None` is one pass in order, as the rows are.
        cache: A `Cache`, by which files are decoded once and kept. Defaults to `None`: they are read anew in every
            pass, as shards always are.
        packed: Names of inputs that come in their `packed_dtype`, for `heads.scaling_levels`: those of `level_inputs`.
            Their batch is neither finished nor augmented. Defaults to none.
        trimmed: Names of the texts and sequences whose batches are cut to their longest row; see `trim`.

    Returns:
        A `tf.data.Dataset` of `({input: tensor}, row numbers (batch,))`, or of `(tensors, targets, weights)`, with as
        many rows as `rows` in each pass, each once unless `epochs.draw` says otherwise; no batch spans two. A file that
        has gone bad since it was checked is left out, with a warning in the log; a blank row of number -1 and weight 0
        takes the place, at the end of the pass (of its part, when `epochs` has one), so that the count of steps stays
        known.
    """
    if isinstance(rows, ShardedRows):
        cells, tasks = {}, () if labels is None else labels.tasks
        one_pass = stream_pass(preprocessors, rows, batch_size, epochs, tasks)
    else:
        cells = {n: as_tensors(rows.cells[n]) for n in preprocessors}
        one_pass = _one_pass(preprocessors, cells, rows, batch_size, epochs, cache or Cache())
    finish_batch = _finisher(preprocessors, cells, labels, epochs, packed, trimmed)
    if epochs is None:
        batches = one_pass(tf.constant(0, tf.int64))
    else:
        batches = tf.data.Dataset.range(epochs.numbers.start, epochs.numbers.stop).flat_map(one_pass)
        steps = len(epochs.numbers) * epochs.own_counts(len(rows), batch_size)[0]
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return untuned(batches.map(finish_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(AHEAD))


def _finisher(preprocessors, cells, labels, epochs, packed, trimmed):
    """Returns the function of `(epoch, row numbers, {input: decoded})` that gives a batch of the dataset.

    Rows that stream bring `{input: cells}` and `{task: labels}` of the batch too.
    """
    streams = callable(labels)
    mixes = epochs is not None and labels is not None and (epochs.mixup or epochs.cutmix)
    if mixes:
        infos = {n: p.tensor for n, p in preprocessors.items()}
        check_mixing(infos, {} if streams else labels[0])
    extra = labels
    if labels is not None and not streams:
        extra = tuple({k: tf.constant(v) for k, v in d.items()} for d in labels)

    @PLAIN
    def finish_batch(epoch, i, decoded, own_cells=None, own_labels=None):
        at = tf.maximum(i, 0)
        key = None if epochs is None else tf.random.fold_in(epochs.key(epoch), at[0])
        if key is not None and epochs.draw is not None:  # the same row may begin two batches
            key = tf.random.fold_in(key, tf.reduce_sum(at * tf.range(1, tf.size(at, tf.int64) + 1)))
        tensors = {}
        for name, p in preprocessors.items():
            if name in packed:
                tensors[name] = decoded[name]
                continue
            if p.row_wise:
                values = p.unpack(decoded[name])
            else:
                values = p.decode(p.read(_gather(cells[name], at) if own_cells is None else own_cells[name]))
            tensors[name] = p.finish(values) if key is None else finish_augmented(p, values, stream(key, name))
        if extra is None:
            return cut(tensors), i
        targets, weights = extra(own_labels) if streams else (_gather(part, at) for part in extra)
        whole = tf.cast(i >= 0, tf.float32)
        batch = tensors, targets, {k: v * whole for k, v in weights.items()}
        if mixes:
            own = stream(key, "mixing of rows")
            batch = mix_batch(batch, i >= 0, own, infos, mixup=epochs.mixup, cutmix=epochs.cutmix)
        # After augmentation and mixing, which make rows longer and shorter.
        return cut(batch[0]), *batch[1:]

    def cut(tensors):
        return {n: trim(x) if n in trimmed else x for n, x in tensors.items()}

    return finish_batch


def _one_pass(preprocessors, cells, rows, batch_size, epochs, cache):
    """Returns the function of an epoch that gives the dataset of its `(epoch, row numbers, {input: packed})`."""
    files, count = {n: p for n, p in preprocessors.items() if p.row_wise}, len(rows)
    is_kept = not files or (cache.kind != "none" and decoded_bytes(files, count) <= cache.most_bytes)
    if files and is_kept:
        every = tf.data.Dataset.range(count)
        good, kept = keep_decoded(files, rows, lambda: untuned(_decoded(every, files, cells, count).batch(256)), cache)
    elif is_kept:
        good, kept = tf.ones([count], tf.bool), {}

    groups = epochs is not None and epochs.lengths is not None
    moves = epochs is not None and not groups and (epochs.shuffle or epochs.draw is not None)
    # A batch of row numbers at once, where rows are only shuffled: one by one, they cost more than the gathering.
    at_once = moves and is_kept and epochs.draw is None

    @PLAIN
    def one_pass(epoch):
        def take(i):
            i = epochs.row(i, count, epoch) if at_once else i
            return epoch, tf.where(tf.gather(good, i), i, -1), _gather(kept, i)

        order, own = tf.data.Dataset.range(count), count
        if groups:
            order = tf.data.Dataset.from_tensor_slices(epochs.grouped_rows(count, batch_size, epoch))
        if epochs is not None:
            order, own = epochs.own(order, batch_size), epochs.own_counts(count, batch_size)[1]
        if moves and not at_once:
            order = order.map(lambda i: epochs.row(i, count, epoch))
        if is_kept:
            return order.batch(batch_size).map(take)
        batches = _decoded(order, files, cells, own).batch(batch_size)
        return batches.map(lambda i, decoded: (epoch, i, decoded))

    return one_pass


def _decoded(order, files, cells, count):
    """Row numbers -> `(row number, {input: packed})`, bad files left out and blank rows of number -1 at the end."""

    @PLAIN
    def decode(i):
        return i, {n: p.decode_packed(p.read(cells[n][i])) for n, p in files.items()}

    read = order.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    blank = (tf.constant(-1, tf.int64), {n: tf.zeros(p.decoded_shape, p.packed_dtype) for n, p in files.items()})
    good = read.ignore_errors(log_warning=True)
    return good.concatenate(tf.data.Dataset.from_tensors(blank).repeat()).take(count)


def finish_augmented(preprocessor, batch, key):
    """Returns the model tensor of a batch in training: finished, and augmented by a seed of two int64."""
    batch = preprocessor.finish(_augmented(preprocessor, "augment", batch, key))
    return _augmented(preprocessor, "augment_finished", batch, key)


def _augmented(preprocessor, method, batch, key):
    augment = getattr(preprocessor, method, None)
    return batch if augment is None else keep_presence(batch, augment(batch, key))


def as_tensors(cell):
    """Returns the cells of an input, an array or a dict of them, as tensors."""
    if isinstance(cell, dict):
        return {f: as_tensors(v) for f, v in cell.items()}
    # A list, since an array of strings would give every row the width of the longest.
    return tf.constant(cell.tolist(), tf.string) if cell.dtype == object else tf.constant(cell)


def _gather(cell, i):
    return {k: tf.gather(v, i) for k, v in cell.items()} if isinstance(cell, dict) else tf.gather(cell, i)
