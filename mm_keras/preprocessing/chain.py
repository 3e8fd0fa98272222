"""What every tf.data chain and every compiled function here is made with."""

from functools import partial

import tensorflow as tf

# Autograph would rewrite all Python below a map of a dataset: most of the time that a chain takes to build. Nothing
# needs it here: what depends on values is written in graph ops.
PLAIN = tf.autograph.experimental.do_not_convert
AHEAD = 4  # batches that wait for the model
MOST = 128  # threads of one parallel map, if there are as many cores


def compiled(function, *signature):
    """Returns a function compiled once, for tensors of these specs.

    TensorFlow counts functions by their code, and warns when it sees one traced again and again: a comparison, or a
    notebook of several runs, has as many of each as runs. A `partial` has no code, and counts for itself.
    """
    return tf.function(partial(function), input_signature=signature, autograph=False)


def untuned(dataset):
    """Returns the dataset, which runs without tf.data's autotuner; so does what is made of it.

    The autotuner of TensorFlow 2.21 may miss the end of an iterator: whoever lets go of it waits until the tuner looks
    again, after up to as long as the iterator has lived, at most a minute. Each training, validation and prediction
    would end with such a wait, on an idle machine more often than on a busy one. Parallel maps of `tf.data.AUTOTUNE`
    have a thread for each core of the machine that runs them, instead.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.autotune.initial_parallelism = MOST  # it stays the initial one; TensorFlow's own ends at 16
    return dataset.with_options(options)
