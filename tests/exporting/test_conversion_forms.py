"""The forms that a network takes for conversion give the numbers of the trained one."""

import keras
import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe
from served_rows import ListRows

import mm_keras as mm
from mm_keras.exporting.attention import quantisable_attention
from mm_keras.exporting.litert import unrolled_model
from mm_keras.registry import FUSIONS


def test_attention_without_the_constant_equals_that_of_keras():
    rng = np.random.default_rng(0)
    inputs, mask = keras.Input((5, 8)), keras.Input((1, 5), dtype="bool")
    output = keras.layers.MultiHeadAttention(2, 4, dropout=0.1)(inputs, inputs, attention_mask=mask)
    model = keras.Model([inputs, mask], output)
    x = 3 * rng.standard_normal((4, 5, 8)).astype(np.float32)
    keep = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)[:, None]
    wanted = np.asarray(model([x, keep]))
    with quantisable_attention(model):
        found = np.asarray(model([x, keep]))
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert "_compute_attention" not in vars(model.layers[-1])
    np.testing.assert_array_equal(model([x, keep]), wanted)


def test_an_unrolled_gru_equals_the_rolled_one_at_any_length(tmp_path):
    recipe = five_input_recipe(title="gru").without("photo", "voice", "facts", "features")
    run = build_run(tmp_path, recipe)
    ids = np.random.default_rng(0).integers(1, 20, (9, 8)).astype(np.int32)
    ids *= np.arange(8) < np.arange(9)[:, None]  # lengths 0 to 8
    other = unrolled_model(run, run.model)
    assert other is not run.model
    for name, wanted in run.model({"title": ids}, training=False).items():
        np.testing.assert_allclose(other({"title": ids}, training=False)[name], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_every_fusion_is_exported(fusion, tmp_path):
    # Untrained, a mean over five normalised summaries leaves labels so close that int8 turns one row of six.
    check_export(five_input_recipe(fusion), tmp_path, 0.25 if fusion == "bottleneck" else 0.1)


@pytest.mark.slow
def test_a_gru_is_exported(tmp_path):
    check_export(five_input_recipe("concat", title="gru"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_in_mixed_precision_is_served_in_float32(precision, tmp_path):
    before = keras.config.dtype_policy()
    recipe = five_input_recipe("self_attention")
    training = recipe.training.model_copy(update={"precision": precision})
    keras.config.set_dtype_policy(precision)
    try:
        bundle = check_export(recipe.model_copy(update={"training": training}), tmp_path)
        assert keras.config.dtype_policy().name == precision
    finally:
        keras.config.set_dtype_policy(before)
    assert f"float32 of {precision}" in set(bundle.parity["artefact"])


def check_export(recipe, folder, max_drop=0.1):
    """Exports random weights without labels; int8 may differ from float in `max_drop` of the rows."""
    run = build_run(folder / "run", recipe)
    rows = ListRows(five_input_examples(60, seed=3), {"category": [""] * 60, "rating": [np.nan] * 60})
    bundle = mm.export(run, folder / "served", rows, int8_max_drop=max_drop, verbose=False)
    assert bundle.parity["passed"].all()
    return bundle
