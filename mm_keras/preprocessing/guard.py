"""Keeps one bad row from failing its batch: a graph has no try/except, a one-element dataset has."""

import tensorflow as tf


def guarded(decode, blank):
    """Wraps `decode(raw) -> tensor` of one row into `raw -> (tensor, ok)`; any error gives `(blank, False)`.

    Args:
        decode: Function of `{field: scalar tensor}`, in graph ops.
        blank: Tensor of the shape and dtype that `decode` returns.
    """

    def run(raw):
        good = tf.data.Dataset.from_tensors(raw).map(lambda row: (decode(row), True)).ignore_errors(log_warning=False)
        spare = tf.data.Dataset.from_tensors((blank, False))
        tensor, ok = good.concatenate(spare).take(1).get_single_element()
        return tf.ensure_shape(tensor, blank.shape), ok

    return run


def decode_rows(decode, blank, raw):
    """Decodes a batch row by row; a bad row becomes `blank`.

    Args:
        decode: As in `guarded`.
        blank: As in `guarded`.
        raw: `{field: tensor (batch, ...)}`.

    Returns:
        `(tensors (batch, ...), ok (batch,) bool)`.
    """
    signature = (tf.TensorSpec(blank.shape, blank.dtype), tf.TensorSpec([], tf.bool))
    return tf.map_fn(guarded(decode, blank), raw, fn_output_signature=signature)
