"""What this machine has of what mm_keras uses."""

import contextlib
import importlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata

PARTS = (
    ("tensorflow", "tensorflow", "training, SavedModel"),
    ("keras", "keras", "layers"),
    ("tensorflow-text", "tensorflow_text", "WordPiece in the graph"),
    ("tensorflow-io", "tensorflow_io", "log-mel"),
    ("tf-keras-vis", "tf_keras_vis", "saliency"),
    ("ai-edge-litert", "ai_edge_litert", "checks of LiteRT files"),
    ("tensorboard", "tensorboard", "curves of a training"),
    ("av", "av", "optional: MP4 and AVI at ingest"),
    ("soundfile", "soundfile", "optional: FLAC, OGG and MP3 at prepare"),
    ("fsspec", "fsspec", "optional: shards at addresses such as gs://"),
    ("apache-beam", "apache_beam", "optional: prepare on a cluster"),
    ("jax", "jax", "optional: Keras on JAX, several machines"),
    ("onnxruntime", "onnxruntime", "optional: ONNX files"),
    ("mlflow", "mlflow", 'optional: fit(log_to="mlflow")'),
    ("wandb", "wandb", 'optional: fit(log_to="wandb")'),
    ("optuna", "optuna", "optional: search"),
    ("tensorflow-serving-api", "tensorflow_serving", "optional: serving client"),
)


def diagnose():
    """Returns rows `(part, what was found, what it is for)`."""
    rows = [("python", sys.version.split()[0], platform.platform())]
    for package, module, use in PARTS:
        rows.append((package, _version(package, module), use))
    if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("keras") is None:
        return rows
    import keras
    import tensorflow as tf

    rows.append(("keras backend", keras.backend.backend(), "needs tensorflow for data, export and explanation"))
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    rows.append(("GPU", ", ".join(names) or "none seen", "training"))
    server = shutil.which("tensorflow_model_server") or "absent"
    rows.append(("tensorflow_model_server", server, "optional: real server"))
    return rows


def _version(package, module):
    if importlib.util.find_spec(module) is None:
        return "absent"
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # another build of it, such as tensorflow-cpu
        return "present"


def import_quietly():
    """Imports TensorFlow and looks for devices without the lines that its C++ side writes, which no setting stops."""
    with _held_back():
        import tensorflow as tf

        tf.config.list_physical_devices()
        for module in ("tensorflow_text", "keras"):
            importlib.import_module(module)


@contextlib.contextmanager
def _held_back():
    """Keeps what is written to file descriptor 2, and lets it through only when the block fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
