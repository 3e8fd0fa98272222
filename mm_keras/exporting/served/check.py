"""Worker: loads a SavedModel as TF Serving does, in C++ with TensorFlow and TF Text only, and runs its signatures."""

import re
import time
from pathlib import Path

import numpy as np

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work

# Python functions, other plug-ins, GPU-only kernels, and TF Text ops that servers up to 2.19 lack.
FORBIDDEN = re.compile(r"PyFunc|NumpyFunction|^IO>|CudnnRNN|RoundRobin|Utf8Binarize")


def check(job):
    """Runs every request of a job through the TF1 session, which is the C++ loader of TF Serving.

    Args:
        job: `{"path": SavedModel folder, "requests": [(signature, {input: array})]}`, and with `"timing"`, batch sizes,
            the first request of `serving_default` is timed in these sizes.

    Returns:
        `{"ops": names of the graph's ops, "results": [{output: array}], "warmup": [(model, signature, rows)] of the
        stored requests, each played, "milliseconds": {batch size: of the quickest call}}`.

    Raises:
        ExportError: When the graph holds an op that a server does not have.
    """
    report_step("importing TensorFlow")
    import tensorflow as tf

    known = _registered_ops()
    import tensorflow_text  # noqa: F401 (registers its ops)

    known |= _registered_ops()
    ops = graph_ops(job["path"])
    if refused := refused_ops(ops, known):
        raise ExportError(f"the served graph holds ops that TF Serving does not run: {refused}")
    stored = _warmup(Path(job["path"]))
    report_step("loading the SavedModel in C++")
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], job["path"])

        def run(signature, feed):
            info = meta.signature_def[signature]
            fetches = {key: i.name for key, i in info.outputs.items()}
            return session.run(fetches, {info.inputs[key].name: value for key, value in feed.items()})

        results = []
        for signature, feed in job["requests"]:
            report_step(f"running the signature {signature!r}")
            results.append(run(signature, feed))
        report_step("playing the warm-up requests")
        played = []
        for name, signature, feed in stored:
            played.append((name, signature, len(next(iter(run(signature, feed).values())))))
        report_step("timing batches")
        timed = next((feed for signature, feed in job["requests"] if signature == "serving_default"), None)
        milliseconds = {} if timed is None else _time_batches(run, timed, job.get("timing", ()))
    return {"ops": sorted(ops), "results": results, "warmup": played, "milliseconds": milliseconds}


def _warmup(path):
    from mm_keras.exporting.served.warmup import FILE, read_warmup

    return list(read_warmup(path)) if (path / FILE).is_file() else []


def _time_batches(run, feed, sizes, repeats=5, most_seconds=1.0):
    """Returns `{size: milliseconds}`, the quickest of some calls, which what else the machine does disturbs least.

    Ends behind a size whose call takes `most_seconds`.
    """
    found = {}
    for size in sizes:
        rows = np.resize(np.arange(len(next(iter(feed.values())))), size)
        batch = {key: values[rows] for key, values in feed.items()}
        run("serving_default", batch)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            run("serving_default", batch)
            seconds.append(time.perf_counter() - start)
            if sum(seconds) > most_seconds:
                break
        found[size] = 1000 * min(seconds)
        if seconds[0] > most_seconds:
            break
    return found


def graph_ops(path):
    """Returns the names of all ops in a SavedModel, those inside its functions included."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((Path(path) / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    functions = graph.library.function
    ops = {n.op for n in graph.node} | {n.op for f in functions for n in f.node_def}
    return ops - {f.signature.name for f in functions}


def refused_ops(ops, known):
    """Returns the ops that a server does not know, or that do not belong on one."""
    return sorted(op for op in ops if op not in known or FORBIDDEN.search(op))


def _registered_ops():
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name for op in op_def_pb2.OpList.FromString(buffer).op}


if __name__ == "__main__":
    work(check)
