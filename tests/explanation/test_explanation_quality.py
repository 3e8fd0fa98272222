"""Measures of explanations against hand counts and linear models, and the whole over a run."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

import mm_keras as mm
from mm_keras.explanation.engine import engine_for
from mm_keras.explanation.panels import Panel
from mm_keras.explanation.quality import measures
from mm_keras.explanation.quality.randomised import randomised
from mm_keras.explanation.quality.truths import read_truths, truth_mask
from mm_keras.explanation.quality.units import Units, values_without

WORTH = np.array([[4.0, 3.0, 2.0, 1.0, 9.0]])
THERE = np.array([[True, True, True, True, False]])


def linear(gone):
    return (WORTH[:, None, :] * ~gone * THERE[:, None, :]).sum(axis=2)


def test_curves_and_areas_by_hand():
    deletion, insertion = measures.curves(linear, WORTH, THERE, steps=4)
    assert deletion.tolist() == [[10, 6, 3, 1, 0]]
    assert insertion.tolist() == [[0, 4, 7, 9, 10]]
    found = measures.areas(deletion, insertion)
    # 20 / 5 and 30 / 5, of a distance of 10.
    assert {k: v.tolist() for k, v in found.items()} == {
        "deletion": [0.4],
        "insertion": [0.6],
        "gap": [pytest.approx(0.2)],
    }
    backwards = measures.areas(*measures.curves(linear, -WORTH, THERE, steps=4))
    assert backwards["gap"] == pytest.approx(-0.2)


def test_what_is_not_there_is_never_taken_away():
    gone = measures.subsets(np.repeat(THERE, 3, axis=0), np.random.default_rng(0), draws=50)
    assert gone.shape == (3, 50, 5)
    assert not gone[..., 4].any()
    assert (gone.sum(axis=2) == 1).all()  # a fifth of four, one at least
    wide = measures.subsets(np.ones((1, 100), bool), np.random.default_rng(0))
    assert (wide.sum(axis=2) == 20).all()


def test_sensitivity_of_a_linear_model_is_one_and_else_pearsons():
    rng = np.random.default_rng(0)
    worth, other, there = rng.normal(size=(2, 30)), rng.normal(size=(2, 30)), np.ones((2, 30), bool)
    gone = measures.subsets(there, rng)
    drops = np.einsum("rdu,ru->rd", gone, worth)
    np.testing.assert_allclose(measures.sensitivity(worth, gone, drops), 1, atol=1e-9)
    said = np.einsum("rdu,ru->rd", gone, other)
    expected = [pearsonr(said[i], drops[i]).statistic for i in range(2)]
    np.testing.assert_allclose(measures.sensitivity(other, gone, drops), expected, atol=1e-9)
    assert np.isnan(measures.sensitivity(worth, gone, np.ones_like(drops))).all()
    assert measures.sensitivity(np.zeros_like(worth), gone, drops).tolist() == [0, 0]


def test_rank_correlation_is_spearmans_of_the_sizes():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 3, 20))
    there = rng.random((3, 20)) < 0.7
    expected = [spearmanr(np.abs(one[i, there[i]]), np.abs(other[i, there[i]])).statistic for i in range(3)]
    np.testing.assert_allclose(measures.rank_correlation(one, other, there), expected, atol=1e-9)
    assert measures.rank_correlation(one, -one, there) == pytest.approx([1, 1, 1])


def test_pointing_and_mass_by_hand():
    values, truth = np.array([[3.0, -5.0], [1.0, 2.0]]), np.array([[True, True], [False, False]])
    assert (measures.pointing(values, truth), measures.pointing(-values, truth)) == (1, 1)
    assert measures.pointing(values.T, truth) == 1
    assert measures.pointing(values[::-1], truth) == 0
    assert measures.mass(values, truth) == pytest.approx(0.5)
    assert measures.mass(-np.abs(values), truth) == 0


def test_evidence_is_read_in_the_layout_of_each_map():
    picture = truth_mask("1 2 3 4; 0 0 1 1", np.zeros((4, 5)), Panel("image", False, None))
    assert np.argwhere(picture).tolist() == [[0, 0], [1, 2], [1, 3], [2, 2], [2, 3]]
    text = Panel("text", False, None, ("a", "no", "##rth", "wind"))
    assert truth_mask("North", np.zeros(4), text).tolist() == [False, True, True, False]
    table = Panel("tabular", False, None, ("price", "weight"))
    assert truth_mask("weight", np.zeros(2), table).tolist() == [False, True]
    sound = Panel("audio", False, None, seconds=1.0, hertz=(100.0, 200.0, 300.0, 400.0))
    heard = truth_mask("0.3 0.5 210 290", np.zeros((4, 10)), sound)
    # Bands reach to their neighbours' middles, frames of 0.1 s a quarter further.
    assert np.flatnonzero(heard.any(axis=1)).tolist() == [1, 2]
    assert np.flatnonzero(heard.any(axis=0)).tolist() == [2, 3, 4]
    with pytest.raises(mm.DataError, match="'height'"):
        truth_mask("height", np.zeros(2), table)
    with pytest.raises(mm.DataError, match="evidence can be given for"):
        truth_mask("1", np.zeros(2), Panel("video", False, None))


def test_truths_need_an_id_and_some_evidence(tmp_path):
    frame = pd.DataFrame({"id": ["a", "b"], "scan_evidence": ["0 0 1 1", ""], "scan": ["x", "y"]})
    assert read_truths(frame, ["scan", "tone"]) == {"a": {"scan": "0 0 1 1"}, "b": {}}
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert read_truths(tmp_path / "t.csv", ["scan"]) == {"a": {"scan": "0 0 1 1"}, "b": {}}
    with pytest.raises(mm.DataError, match="scan_evidence"):
        read_truths(frame[["id", "scan"]], ["scan"])
    with pytest.raises(mm.DataError, match="cannot read"):
        read_truths(tmp_path / "absent.csv", ["scan"])


def test_units_sum_what_belongs_together():
    def of(layout, shape, **more):
        return Units(SimpleNamespace(spec=SimpleNamespace(layout=layout), **more), shape)

    picture = of("image", (2, 2, 3))
    assert picture.sums(np.arange(12.0).reshape(1, 2, 2, 3)).tolist() == [[3, 12, 21, 30]]
    text = of("text", (3, 2))
    there = text.filled(np.ones((1, 3, 2)), np.array([[5, 7, 0]]))
    assert there.tolist() == [[True, True, False]]
    table = of("tabular", (5,), tensor=SimpleNamespace(groups=(2, 3)))
    assert table.sums(np.array([[1.0, 2, 3, 4, 5]])).tolist() == [[3, 12]]
    assert of("audio", (2, 2)).count == 4


@pytest.mark.slow
def test_values_without_units_are_the_models_own(digits_run):
    engine = engine_for(digits_run.model, digits_run.tasks)
    tensors = digits_run.encode([digits_run.rows("test").example(i) for i in range(3)])[0]
    seen, column = engine.observe(tensors), np.array([0, 4, 2], np.int32)
    units = Units(digits_run.preprocessors["scan"], seen.entries["scan"].shape[1:])
    gone = np.zeros((3, 2, units.count), bool)
    gone[:, 1, :40] = True
    values = values_without(engine, seen, column, "scan", units, gone)
    np.testing.assert_allclose(values[:, 0], seen.scores[np.arange(3), column], atol=1e-5)
    changed = dict(tensors, scan=tensors["scan"].copy())
    changed["scan"].reshape(3, units.count, -1)[:, :40] = 0
    np.testing.assert_allclose(values[:, 1], engine.scores(changed)[np.arange(3), column], atol=1e-5)
    np.testing.assert_allclose(
        engine.evaluate(seen.entries, seen.held, column),
        engine.differentiate(seen.entries, seen.held, column)[0],
        atol=1e-6,
    )


@pytest.fixture(scope="module")
def quality(digits_run):
    return mm.explain_quality(
        digits_run, methods=["integrated_gradients"], rows=5, steps=16, truths=evidence(digits_run)
    )


def evidence(run):
    """The whole scan and one column of the card, of every row."""
    ids = run.rows("test").ids
    return pd.DataFrame({"id": ids, "scan_evidence": "0 0 16 16", "card_evidence": "holes"})


def test_a_run_is_measured_beside_a_random_map(quality, digits_run):
    assert list(quality.scores) == ["integrated_gradients", "random"]
    assert quality.n == 5
    for by_input in quality.scores.values():
        assert list(by_input) == list(digits_run.recipe.inputs)
    own = quality.scores["integrated_gradients"]
    assert own["card"]["gap"]["value"] > quality.scores["random"]["card"]["gap"]["value"]
    assert own["card"]["sensitivity"]["value"] > 0.5
    assert quality.completeness["random"] is None
    assert quality.completeness["integrated_gradients"]["median"] < 0.1
    # The evidence is everything, where a row is right.
    assert "mass" not in own["scan"] or own["scan"]["mass"]["value"] == pytest.approx(1)


@pytest.mark.slow
def test_maps_of_randomised_models_are_others(digits_run):
    found = mm.explain_quality(digits_run, methods="integrated_gradients", rows=8, steps=16, randomise=True)
    for name, entry in found.scores["integrated_gradients"].items():
        stages = [entry[f"randomised: {stage}"]["value"] for stage in ("heads", "heads and fusion", "all")]
        assert all(-1 <= rho <= 1 for rho in stages), name
        # The bound of every method that is offered. In the random map there is nothing to draw anew.
        assert stages[2] <= 0.6, name
    assert not any(k.startswith("randomised") for k in found.scores["random"]["scan"])


def test_curves_start_and_end_where_the_output_does(quality):
    for by_input in quality.curves.values():
        for curves in by_input.values():
            down, up = curves["deletion"], curves["insertion"]
            assert len(down) == len(up) == measures.STEPS + 1
            assert down[0] == pytest.approx(up[-1], abs=1e-6)
            assert down[-1] == pytest.approx(up[0], abs=1e-6) == 0


def test_quality_is_shown_and_saved(quality, tmp_path):
    table = quality.table()
    assert table.index.names == ["input", "method"]
    assert {"gap", "deletion", "insertion", "sensitivity", "completeness"} <= set(table.columns)
    assert "random" in repr(quality)
    assert json.loads(quality.save(tmp_path / "q.json").read_text())["n"] == 5
    assert quality.save(tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(quality.save(tmp_path / "q.csv"))) == 8
    assert "More is better" in quality.save(tmp_path / "q.html").read_text()
    lines = quality.plot().axes[0].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata(), quality.curves["integrated_gradients"]["scan"]["deletion"])
    with pytest.raises(mm.DataError, match="saved as"):
        quality.save(tmp_path / "q.txt")


def test_wrong_words_and_rows_without_truth_are_named(digits_run):
    with pytest.raises(mm.DataError, match="unknown method 'gradients'"):
        mm.explain_quality(digits_run, methods="gradients")
    with pytest.raises(mm.DataError, match="have no line in the truths"):
        mm.explain_quality(digits_run, rows=2, methods="integrated_gradients", truths=evidence(digits_run)[:0])


def test_randomised_weights_are_new_and_the_model_keeps_its_own(digits_run):
    model = digits_run.model
    before = [w.numpy().copy() for w in model.weights]
    copy = randomised(model, "heads", seed=1)
    changed = {w.path for w, o in zip(copy.weights, before, strict=True) if not np.array_equal(w.numpy(), o)}
    assert changed
    assert all("_logits" in path for path in changed)
    whole = randomised(model, "all", seed=1)
    kernels = [(w.numpy(), o) for w, o in zip(whole.weights, before, strict=True) if "kernel" in w.path]
    assert kernels
    assert not any(np.array_equal(w, o) for w, o in kernels)
    again = randomised(model, "all", seed=1)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(whole.weights, again.weights, strict=True))
    assert all(np.array_equal(w.numpy(), o) for w, o in zip(model.weights, before, strict=True))
