"""What of a recipe several devices, or Keras on JAX, cannot do; said before the first step."""

import keras

from mm_keras.errors import RecipeError
from mm_keras.training.balance.build import is_balanced


def check_backend(recipe):
    """Raises when the backend that Keras runs on cannot train a recipe.

    Raises:
        RecipeError: With the field, and why.
    """
    backend, training = keras.backend.backend(), recipe.training
    if backend == "tensorflow":
        return
    if backend != "jax":
        raise RecipeError(f"mm_keras trains with Keras on tensorflow or jax. Received: KERAS_BACKEND={backend}")
    if training.precision == "mixed_float16" and keras.distribution.list_devices()[0].startswith("cpu"):
        raise RecipeError("training.precision: JAX has no mixed_float16 on CPU. Take float32 or mixed_bfloat16.")
    if is_balanced(training):
        _refuse("training.balance and training.task_balance", "they take gradients with TensorFlow's tape")
    if training.modality_dropout_schedule != "constant":
        _refuse("training.modality_dropout_schedule", "JAX compiles the rate into the step, which would never change")
    if len(recipe.bucketed) > 1:
        _refuse("training.bucket", f"JAX compiles the step for each combination of the lengths of {recipe.bucketed}")
    for name, spec in recipe.inputs.items():
        if spec.kind == "entity" and spec.encoder_options.get("pretrain"):
            _refuse(f"inputs.{name}.encoder.options.pretrain", "vectors of triples are learned with TensorFlow's tape")


def _refuse(field, reason):
    raise RecipeError(f"{field}: needs Keras on TensorFlow, for {reason}. Set KERAS_BACKEND=tensorflow.")


def check_mirrored(recipe):
    """Raises when several devices of TensorFlow would not give what one gives.

    Raises:
        RecipeError: With the field, and why.
    """
    advice, training = "Train on one device, or with KERAS_BACKEND=jax.", recipe.training
    breaks = {
        "accumulate_steps": training.accumulate_steps > 1,
        "steps_per_execution": training.steps_per_execution > 1,
        "jit_compile": training.jit_compile is True,
    }
    if found := [field for field, is_set in breaks.items() if is_set]:
        raise RecipeError(f"training.{found[0]}: breaks with several devices of TensorFlow. {advice}")
    if is_balanced(training):
        raise RecipeError(
            "training.balance and training.task_balance: weigh the gradients of a whole batch, of which each device of "
            "TensorFlow has a part. Train on one device."
        )
    for name, spec in recipe.inputs.items():
        if spec.layout == "series" and spec.encoder_kind == "conv":
            raise RecipeError(
                f"inputs.{name}.encoder: 'conv' normalises over the steps that there are, which TensorFlow does on "
                f"each device alone. {advice}"
            )


def check_hosts(recipe):
    """Raises when several processes would not do the same.

    Raises:
        RecipeError: With the field, and why.
    """
    if recipe.training.checkpoint_minutes:
        raise RecipeError(
            "training.checkpoint_minutes: the clocks of several hosts differ, and all must make a checkpoint after the "
            "same batch. Set training.checkpoint_steps."
        )
    if recipe.training.cache == "disk":
        raise RecipeError("training.cache: several processes would write one cache on disk. Take memory or none.")


def check_batch(recipe, devices):
    """Raises when a batch cannot be shared out evenly.

    Raises:
        RecipeError: With the size, and the nearest that can.
    """
    size = recipe.training.batch_size
    if size % devices:
        near = max(devices, round(size / devices) * devices)
        raise RecipeError(
            f"training.batch_size: is the batch of all devices together, and must be a multiple of {devices}. "
            f"Received: {size}. The nearest is {near}."
        )
