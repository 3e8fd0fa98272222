"""Worker: times one artefact of a bundle, batch size by batch size, in a process of its own."""

import time
from pathlib import Path

import numpy as np

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work


def bench(job):
    """Times calls of one artefact.

    Args:
        job: `{"kind": "saved_model" or "litert", "path": folder or file, "feeds": {signature: {input: array (rows,
            ...)}}, "batches": sizes, "seconds": how long each size is called, "threads": of LiteRT}`. Of a LiteRT file,
            inputs that `feeds` does not name in its own shape are filled with noise.

    Returns:
        `{(signature, batch size): seconds of each call}`.
    """
    call = _saved_model(job) if job["kind"] == "saved_model" else _litert(job)
    found = {}
    for signature, feed in job["feeds"].items():
        for size in job["batches"]:
            report_step(f"timing {signature!r} with {size} rows")
            rows = np.resize(np.arange(len(next(iter(feed.values())))), size) if feed else range(size)
            batch = {k: v[rows] for k, v in feed.items()}
            found[signature, size] = _time(lambda s=signature, b=batch: call(s, b), job["seconds"])
    return found


def _time(call, seconds):
    for _ in range(2):
        call()
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 2000):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def _saved_model(job):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 (registers its ops)

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(job["path"]))

    def call(signature, batch):
        info = meta.signature_def[signature]
        return session.run(
            {k: o.name for k, o in info.outputs.items()}, {info.inputs[k].name: v for k, v in batch.items()}
        )

    return call


def _litert(job):
    from mm_keras.exporting.litert.check import block_tensorflow

    block_tensorflow()
    from ai_edge_litert.interpreter import Interpreter

    if not Path(job["path"]).is_file():
        raise ExportError(f"{job['path']}: no such file.")
    interpreter = Interpreter(model_path=str(job["path"]), num_threads=job["threads"])
    runners, rng = {}, np.random.default_rng(0)
    for signature in job["feeds"]:
        runner = interpreter.get_signature_runner(signature)
        noise = {k: _noise(rng, d) for k, d in runner.get_input_details().items()}
        runners[signature] = runner, noise

    def call(signature, batch):
        runner, noise = runners[signature]
        fits = {k: v for k, v in batch.items() if k in noise and (v.shape, v.dtype) == (noise[k].shape, noise[k].dtype)}
        return runner(**noise | fits)

    return call


def _noise(rng, details):
    shape, dtype = tuple(int(n) for n in details["shape"]), np.dtype(details["dtype"])
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)  # ids that every vocabulary has
    return rng.uniform(0, 1, shape).astype(dtype)


if __name__ == "__main__":
    work(bench)
