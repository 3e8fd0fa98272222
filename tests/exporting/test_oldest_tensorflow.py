"""The bundle in the oldest TensorFlow that it is promised for: loaded and run there, without Keras and mm_keras's rest.

`make old-check` makes the environment and runs this.
"""

import os
import subprocess

import pytest

OLD = os.environ.get("MM_KERAS_OLD_PYTHON")
CODE = """
import sys
import numpy as np
import tensorflow as tf
import tensorflow_text
from mm_keras.exporting.kept import kept_request, load_kept
kept, worst = load_kept(sys.argv[1]), 0.0
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
    for subset, wanted in kept["outputs"].items():
        info = meta.signature_def["serving_default"]
        raw = kept_request(kept, subset)
        fetches = {k: o.name for k, o in info.outputs.items()}
        found = session.run(fetches, {info.inputs[k].name: v for k, v in raw.items()})
        for name, value in wanted.items():
            if name in found:
                worst = max(worst, float(np.abs(found[name] - value).max() / np.abs(value).max()))
print(tf.__version__, len(kept["outputs"]), worst)
"""


@pytest.mark.slow
@pytest.mark.skipif(not OLD, reason="MM_KERAS_OLD_PYTHON names no Python with TensorFlow 2.16; see `make old-check`")
def test_the_oldest_tensorflow_answers_the_same(five_input_bundle):
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": home, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [OLD, "-c", CODE, str(five_input_bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    version, subsets, worst = done.stdout.split()
    assert version.startswith("2.16.")
    assert int(subsets) == 31
    assert float(worst) < 1e-4
