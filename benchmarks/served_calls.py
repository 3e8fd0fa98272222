"""An exported model called as a server calls it, through the C++ loader and a session, and as a phone calls it."""


def session_call(path, signature="serving_default", outputs=None, is_single=False):
    """Returns a function of named arrays that gives `{output: array}`.

    Args:
        path: Of the SavedModel.
        signature: Which of its signatures.
        outputs: Names of those that are asked for. Defaults to `None`, all.
        is_single: Whether all runs on the caller's thread, as on a phone. Defaults to `False`.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 (registers its ops)

    threads = {"intra_op_parallelism_threads": 1, "inter_op_parallelism_threads": -1} if is_single else {}
    session = tf.compat.v1.Session(graph=tf.Graph(), config=tf.compat.v1.ConfigProto(**threads))
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
    served = meta.signature_def[signature]
    names = sorted(served.outputs) if outputs is None else list(outputs)
    feeds = {name: info.name for name, info in served.inputs.items()}
    run = session.make_callable([served.outputs[n].name for n in names], feed_list=list(feeds.values()))
    return lambda values: dict(zip(names, run(*(values[n] for n in feeds)), strict=True))


def litert_call(file, signature="serving_default"):
    """Returns a function of named arrays that gives `{output: array}`, on one thread.

    Args:
        file: A `.tflite` file.
        signature: Which of its signatures.
    """
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(file), num_threads=1).get_signature_runner(signature)
    return lambda values: runner(**values)
