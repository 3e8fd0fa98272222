"""Settings of a training step that contradict each other are refused with the reason, without Keras."""

import pytest

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate_steps": 0}, r"accumulate_steps: .* greater than or equal to 1"),
        (
            {"accumulate_steps": 2, "balance": "ogm_ge"},
            r"'ogm_ge' weighs the gradients of each .* 2 times as large",
        ),
        ({"accumulate_steps": 4, "balance": "mmpareto"}, r"'mmpareto' weighs the gradients of each batch"),
        ({"steps_per_execution": 4, "warmup_epochs": 1}, r"a warm-up sets the rate before each step, and 4 steps run"),
        (
            {"steps_per_execution": 4, "checkpoint_steps": 6},
            r"multiple of steps_per_execution, 4.*Received: 6",
        ),
        ({"epochs": 3, "warmup_epochs": 3}, r"must be less than the epochs, 3\. Received: 3"),
        ({"ema": 1.0}, r"ema: .* less than 1"),
        ({"layer_decay": 0.0}, r"layer_decay: .* greater than 0"),
        ({"schedule": "cosin"}, r"schedule: must be 'cosine', 'linear' or 'constant'\. Did you mean 'cosine'\?"),
        ({"jit_compile": "yes please"}, r"jit_compile"),
        ({"clip_norm": -1.0}, r"clip_norm: .* greater than or equal to 0"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        parts.Training(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_steps": 2, "balance": "gradient_blending"},
        {"steps_per_execution": 4, "checkpoint_steps": 8, "warmup_epochs": 0},
        {"jit_compile": False},
        {"jit_compile": "auto", "ema": 0.999, "layer_decay": 0.75},
    ],
    ids=str,
)
def test_what_goes_together(options):
    training = parts.Training(**options)
    assert parts.Training.model_validate_json(training.model_dump_json()) == training
