"""The SavedModel for TF Serving: raw values or model tensors in, probabilities, values and labels out."""

import keras
import tensorflow as tf

from mm_keras.explanation.subjects import run_engine
from mm_keras.exporting.litert.device import device_specs, from_device
from mm_keras.exporting.quiet import quiet
from mm_keras.exporting.served.canonical import make_canonical
from mm_keras.exporting.served.explained import explained_outputs
from mm_keras.fusion import fusion_level
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
        model = run.rebuild(**options)
    finally:
        keras.config.set_dtype_policy(before)
    model.set_weights(run.model.get_weights())
    return model


def save_saved_model(path, run, model, explain=False):
    """Writes the SavedModel with the signatures `serving_default`, `tensors`, `embedding` and, if asked for, `explain`.

    All take raw values, but `tensors`, which takes model tensors. Each output has the batch axis
    first, along which TF Serving splits batches. The same model gives the same bytes.

    Args:
        path: A folder to create.
        run: A `Run`.
        model: The float32 model to serve.
        explain: Whether to write `explain`, which gives the answer of `serving_default` and what each part of each
            input did for it.
    """
    joined = joined_model(run, model)
    # Functions of their own, called by the signatures: the graph holds the decoders and the network once.
    prepare = tf.function(lambda raw: _prepare(run, raw), autograph=False)
    forward = tf.function(lambda tensors: joined(tensors, training=False), autograph=False)

    def outputs(predictions, tensors):
        served = {k: v for n, task in run.tasks.items() for k, v in _served(n, task, predictions[n]).items()}
        return served | _used(tensors)

    def serve_raw(**raw):
        tensors, error = prepare(raw)
        return {**outputs(forward(tensors), tensors), "error": error}

    def serve_tensors(**tensors):
        return outputs(forward(tensors), tensors)

    def serve_embedding(**raw):
        tensors, error = prepare(raw)
        embedding = tf.cast(forward(tensors)["embedding"], tf.float32)
        return {"embedding": embedding, **_used(tensors), "error": error}

    def serve_explained(**raw):
        tensors, error = prepare(raw)
        predictions, maps = explained_outputs(run, run_engine(run, model), tensors)
        return {**outputs(predictions, tensors), **maps, "error": error}

    specs = {n: tf.TensorSpec([None, *t.shape], t.dtype, name=n) for n, t in run.tensors.items()}
    takes_raw = {"serving_default": serve_raw, "embedding": serve_embedding}
    takes_raw |= {"explain": serve_explained} if explain else {}
    signatures = {name: _trace(serve, raw_specs(run.preprocessors)) for name, serve in takes_raw.items()}
    _save(
        path,
        model,
        {**signatures, "tensors": _trace(serve_tensors, specs)},
        tables=[p.table for p in run.preprocessors.values() if p.spec.kind == "entity"],
    )
    make_canonical(path)


def embedding_model(run, model):
    """Returns a model on the same layers that ends at the joint embedding `(batch, units)`.

    A fusion of decisions has none: the logits of all tasks, side by side, stand in its place.
    """
    if fusion_level(run.recipe.fusion) == "decisions":
        logits = [model.get_layer(f"{task}_logits").output for task in run.tasks]
        joint = keras.layers.Concatenate()(logits) if len(logits) > 1 else logits[0]
    else:
        joint = model.get_layer("fusion").output
    return keras.Model(model.input, joint, name="joint")


def joined_model(run, model):
    """Returns a model on the same layers that gives the joint `embedding` with the predictions."""
    return keras.Model(model.input, {**model.output, "embedding": embedding_model(run, model).output}, name="joined")


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


def _prepare(run, raw):
    tensors, fine = preprocess(run.preprocessors, raw)
    return tensors, error_text(run.preprocessors, raw, fine)


def _used(tensors):
    """Returns `{<input>_used: bool (batch,)}`: whether the model was given the input, neither blank nor bad."""
    return {f"{n}_used": tf.reduce_any(t != 0, axis=list(range(1, len(t.shape)))) for n, t in tensors.items()}


def _served(name, task, prediction):
    """Returns the outputs of one task."""
    prediction = tf.cast(prediction, tf.float32)
    served = {name: prediction}
    if task.is_categorical:
        classes = tf.constant(task.classes)
        served[f"{name}_label"] = tf.gather(classes, tf.argmax(prediction, axis=-1))
        served[f"{name}_classes"] = tf.repeat(classes[None], tf.shape(prediction)[0], axis=0)
        return served
    return served | task.bounds(prediction)


def _save(path, model, signatures, tables=()):
    bundle = tf.Module()
    # The model itself must not be an attribute: Keras would then save copies of its variables, and the C++ loader
    # restores those copies but runs on the originals ("Could not find variable").
    bundle.weights = [v.value for v in model.variables] if model is not None else []
    bundle.tables = list(tables)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet():
        tf.saved_model.save(bundle, str(path), signatures=signatures, options=options)
