"""Values of coalitions of inputs: one encoding for all of them, equal to running each by itself."""

import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe

import mm_keras as mm
from mm_keras.explanation.coalitions import coalition_values, contributions, pairs_of
from mm_keras.explanation.engine import engine_for
from mm_keras.explanation.shapley import every_coalition

MORE = ("cross_attention", "decision_weighted")


def blanked(tensors, coalition):
    return {n: t if c else np.zeros_like(t) for (n, t), c in zip(tensors.items(), coalition, strict=True)}


def test_every_coalition_is_what_the_model_says_without_the_others(five_input_run):
    engine = engine_for(five_input_run.model, five_input_run.tasks)
    tensors = {n: five_input_run.encode(five_input_examples(20))[0][n] for n in engine.entries}
    column = np.arange(20, dtype=np.int32) % 4
    values = coalition_values(engine, tensors, column)
    assert values.shape == (20, 32)
    for number, coalition in enumerate(every_coalition(5)):
        direct = engine.scores(blanked(tensors, coalition))[np.arange(20), column]
        np.testing.assert_allclose(values[:, number], direct, atol=1e-5)


@pytest.mark.parametrize("fusion", ["mmtm", *(pytest.param(f, marks=pytest.mark.slow) for f in MORE)])
def test_fusions_of_every_level_give_what_they_give_alone(fusion, tmp_path):
    run = build_run(tmp_path / fusion, five_input_recipe(fusion).without("features", "facts", "voice"))
    engine = engine_for(run.model, run.tasks)
    examples = [{k: v for k, v in e.items() if k in ("photo", "title")} for e in five_input_examples(3)]
    tensors = {n: run.encode(examples)[0][n] for n in engine.entries}
    values = coalition_values(engine, tensors, np.ones(3, np.int32))
    for number, coalition in enumerate(every_coalition(2)):
        np.testing.assert_allclose(values[:, number], engine.scores(blanked(tensors, coalition))[:, 1], atol=1e-5)


def test_many_rows_are_what_each_is_alone(five_input_run):
    engine = engine_for(five_input_run.model, five_input_run.tasks)
    examples = five_input_examples(7)
    del examples[2]["photo"], examples[5]["photo"], examples[5]["voice"]
    tensors = five_input_run.encode(examples)[0]
    column = np.array([0, 1, 2, 3, 0, 1, 2], np.int32)
    together = contributions(engine, tensors, column)
    assert together.scores[2, together.names.index("photo")] == 0
    # Float32 logits of size one, weighed and added.
    assert np.abs(together.scores.sum(axis=1) - together.values + together.base_values).max() <= 1e-4
    for row in range(7):
        alone = contributions(engine, {n: t[row : row + 1] for n, t in tensors.items()}, column[row : row + 1])
        np.testing.assert_allclose(together.scores[row], alone.scores[0], atol=1e-5)
        np.testing.assert_allclose(together.interactions[row], alone.interactions[0], atol=2e-5)


def test_explain_tells_what_pairs_add(five_input_run):
    example = five_input_examples(1)[0]
    explanation = mm.explain(five_input_run, example)
    names = list(five_input_run.recipe.inputs)
    assert len(explanation.interactions) == 10
    assert all(a < b for a, b in explanation.interactions)
    engine = engine_for(five_input_run.model, five_input_run.tasks)
    column = engine.columns["category"].start + list(five_input_run.tasks["category"].classes).index(explanation.target)
    table = engine.scores(
        {
            n: np.concatenate([t * c[i] for c in every_coalition(5)]).astype(t.dtype)
            for i, n in enumerate(names)
            for t in [five_input_run.encode([example])[0][n]]
        }
    )[:, column]
    value = {frozenset(np.array(names)[c]): v for c, v in zip(every_coalition(5), table, strict=True)}
    weights = {0: 1 / 4, 1: 1 / 12, 2: 1 / 12, 3: 1 / 4}  # s! (3 - s)! / 4!
    for (a, b), found in explanation.interactions.items():
        rest = [s for s in value if not s & {a, b}]
        gains = [value[s | {a, b}] - value[s | {a}] - value[s | {b}] + value[s] for s in rest]
        assert found == pytest.approx(sum(weights[len(s)] * g for s, g in zip(rest, gains, strict=True)), abs=2e-5)
    content = explanation.to_json()
    assert '"interactions"' in content


def test_pairs_have_sorted_names():
    matrix = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    assert pairs_of(("c", "a", "b"), matrix) == {("a", "b"): 3, ("a", "c"): 1, ("b", "c"): 2}


def test_something_else_may_stand_for_a_missing_input(five_input_run):
    engine = engine_for(five_input_run.model, five_input_run.tasks)
    tensors, _ = five_input_run.encode(five_input_examples(4, seed=1))
    blanks = {n: t[3:] for n, t in tensors.items()}
    values = coalition_values(engine, tensors, np.zeros(4, np.int32), blanks)
    for number in (0, 5, 18, 31):
        chosen = zip(tensors.items(), every_coalition(5)[number], strict=True)
        mixed = {n: t if c else np.repeat(blanks[n], 4, axis=0) for (n, t), c in chosen}
        np.testing.assert_allclose(values[:, number], engine.scores(mixed)[:, 0], atol=1e-5)
    # What is as the blank is no player.
    assert contributions(engine, tensors, np.zeros(4, np.int32), blanks).scores[3].tolist() == [0] * 5
