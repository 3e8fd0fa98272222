"""What a recipe says of balanced training is checked without Keras."""

import pytest

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError


def recipe_of(inputs=("photo", "title"), tasks=("kind", "size"), weight=1.0, **training):
    return parts.Recipe(
        inputs={n: parts.Text() for n in inputs},
        tasks={n: parts.Regression(weight=weight) for n in tasks},
        training=parts.Training(**training),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "ogmge"}, r"balance.kind: must be one of .*Did you mean 'ogm_ge'\? Received: 'ogmge'"),
        ({"task_balance": "grad_norm"}, r"task_balance.kind: must be one of .*Did you mean 'gradnorm'\?"),
        (
            {"balance": {"kind": "ogm_ge", "options": {"alfa": 1.0}}},
            r"balance: balance 'ogm_ge' has no option 'alfa'\. Did you mean 'alpha'\?",
        ),
        (
            {"balance": {"kind": "ogm_ge", "options": {"alpha": 0.0}}},
            r"option 'alpha' must be above 0\. Received: 0\.0",
        ),
        (
            {"balance": {"kind": "gradient_blending", "options": {"super_epoch": 0}}},
            r"option 'super_epoch' must be at least 1\. Received: 0",
        ),
        (
            {"task_balance": {"kind": "gradnorm", "options": {"rate": -0.1}}},
            r"option 'rate' must be above 0\. Received: -0\.1",
        ),
        (
            {"balance": "ogm_ge", "inputs": ("photo",)},
            r"training\.balance: 'ogm_ge' balances inputs against each other, and there is one: \['photo'\]",
        ),
        (
            {"task_balance": "uncertainty", "tasks": ("kind",)},
            r"training\.task_balance: 'uncertainty' balances tasks against each other, and there is one: \['kind'\]",
        ),
        (
            {"task_balance": "gradnorm", "weight": 2.0},
            r"learns the weights of the tasks\. Leave `weight` out\. Received: \{'kind': 2\.0, 'size': 2\.0\}",
        ),
        ({"balance": "mmpareto", "auxiliary": 1.0}, r"Leave `auxiliary` out, .* Received: auxiliary=1\.0"),
        ({"balance": "gradient_blending", "auxiliary": 0.5}, r"weighs them by itself"),
        (
            {"modality_dropout_schedule": "rise", "modality_dropout": 0.0},
            r"'rise' changes `modality_dropout`, which is 0",
        ),
        ({"modality_dropout_schedule": "raise"}, r"Did you mean 'rise'\?"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        recipe_of(**options)


def test_a_name_and_a_part_say_the_same():
    one = recipe_of(balance="ogm_ge", task_balance="gradnorm")
    two = recipe_of(balance=parts.Balance("ogm_ge"), task_balance={"kind": "gradnorm"})
    assert one == two
    assert one.training.balance.all_options == {"alpha": 0.3, "noise": 1.0, "until": 0.5}
    noiseless = parts.Balance("ogm_ge", options={"noise": 0.0})
    assert noiseless.all_options == {"alpha": 0.3, "noise": 0.0, "until": 0.5}


def test_the_one_input_that_is_left_needs_no_balance():
    whole = recipe_of(("photo", "title", "voice"), balance="mmpareto", task_balance="uncertainty")
    assert whole.without("photo").training == whole.training
    alone = whole.without("photo", "title").training
    assert alone.balance.kind == "none"
    assert alone.task_balance.kind == "uncertainty"
