"""What this machine has of what mm_keras uses."""

import importlib.util
import platform
import shutil
import sys
from importlib import metadata

PARTS = (
    ("tensorflow", "tensorflow", "training, SavedModel"),
    ("keras", "keras", "layers"),
    ("tensorflow-text", "tensorflow_text", "WordPiece in the graph"),
    ("tensorflow-io", "tensorflow_io", "log-mel"),
    ("tf-keras-vis", "tf_keras_vis", "saliency"),
    ("ai-edge-litert", "ai_edge_litert", "checks of LiteRT files"),
    ("tensorboard", "tensorboard", "curves of a training"),
    ("tensorflow-serving-api", "tensorflow_serving", "optional: serving client"),
)


def diagnose():
    """Returns rows `(part, what was found, what it is for)`."""
    rows = [("python", sys.version.split()[0], platform.platform())]
    for package, module, use in PARTS:
        found = metadata.version(package) if importlib.util.find_spec(module) else "absent"
        rows.append((package, found, use))
    import keras
    import tensorflow as tf

    rows.append(("keras backend", keras.backend.backend(), "needs tensorflow for data, export and explanation"))
    gpus = [
        tf.config.experimental.get_device_details(d).get("device_name", d.name)
        for d in tf.config.list_physical_devices("GPU")
    ]
    rows.append(("GPU", ", ".join(gpus) or "none seen", "training"))
    rows.append(
        ("tensorflow_model_server", shutil.which("tensorflow_model_server") or "absent", "optional: real server")
    )
    return rows
