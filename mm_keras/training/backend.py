"""What Keras must run on."""

import keras

from mm_keras.errors import BackendError


def require_tensorflow(what):
    """Raises when Keras runs on another backend than TensorFlow.

    Args:
        what: What cannot be done there.

    Raises:
        BackendError: With what to do.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise BackendError(
            f"{what} needs Keras on TensorFlow. Received: KERAS_BACKEND={backend}. Start Python anew with "
            "KERAS_BACKEND=tensorflow, which loads the run with the same outputs."
        )
