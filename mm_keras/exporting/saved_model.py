"""The SavedModel for TF Serving: raw values or model tensors in, probabilities, values and labels out."""

import logging
from contextlib import contextmanager

import keras
import tensorflow as tf

from mm_keras.exporting.device import device_specs, from_device
from mm_keras.model import build_model
from mm_keras.preprocessing.raw import error_text, preprocess, raw_specs


def float32_model(run, **options):
    """Builds the run's network in float32 and gives it the run's weights.

    Args:
        run: A `Run`.
        options: For the encoders; `unroll=True` writes recurrent loops out.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = build_model(run.recipe, run.tensors, run.tasks, **options)
    finally:
        keras.config.set_dtype_policy(before)
    model.set_weights(run.model.get_weights())
    return model


def save_saved_model(path, run, model):
    """Writes the SavedModel with the signatures `serving_default` (raw values) and `tensors`.

    Args:
        path: A folder to create.
        run: A `Run`.
        model: The float32 model to serve.
    """

    def outputs(tensors):
        predictions = model(tensors, training=False)
        return {k: v for name, task in run.tasks.items() for k, v in _served(name, task, predictions[name]).items()}

    def serve_raw(**raw):
        tensors, fine = preprocess(run.preprocessors, raw)
        return {**outputs(tensors), "error": error_text(fine)}

    specs = {n: tf.TensorSpec([None, *t.shape], t.dtype, name=n) for n, t in run.tensors.items()}
    _save(path, model, {
        "serving_default": _trace(serve_raw, raw_specs(run.preprocessors)),
        "tensors": _trace(lambda **tensors: outputs(tensors), specs),
    }, tables=[p.table for p in run.preprocessors.values() if p.spec.kind == "entity"])


def save_single(path, run, model, rows=1):
    """Writes the SavedModel that others are converted from: model tensors of `rows` examples in, numbers out."""
    specs = {n: tf.TensorSpec([rows, *t.shape], t.dtype, name=n) for n, t in run.tensors.items()}
    _save(path, model, {"serving_default": _trace(lambda **tensors: model(tensors, training=False), specs)})


def save_front(path, run):
    """Writes the SavedModel that makes model tensors of what a device gives, one example at a time; see `device`."""

    def front(**values):
        return from_device(run.preprocessors, values)

    _save(path, None, {"serving_default": _trace(front, device_specs(run.preprocessors))})


def _trace(function, specs):
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def _served(name, task, prediction):
    """Returns the outputs of one task; each has the batch axis first, along which TF Serving splits batches."""
    prediction = tf.cast(prediction, tf.float32)
    served = {name: prediction}
    if task.is_categorical:
        classes = tf.constant(task.classes)
        served[f"{name}_label"] = tf.gather(classes, tf.argmax(prediction, axis=-1))
        served[f"{name}_classes"] = tf.repeat(classes[None], tf.shape(prediction)[0], axis=0)
    return served


def _save(path, model, signatures, tables=()):
    bundle = tf.Module()
    # The model itself must not be an attribute: Keras would then save copies of its variables, and the C++ loader
    # restores those copies but runs on the originals ("Could not find variable").
    bundle.weights = [v.value for v in model.variables] if model is not None else []
    bundle.tables = list(tables)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with _quiet():
        tf.saved_model.save(bundle, str(path), signatures=signatures, options=options)


@contextmanager
def _quiet():
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
