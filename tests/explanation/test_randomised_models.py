"""A map must change when what the model learned is thrown away; and the maps of the other methods on known evidence."""

import keras
import numpy as np
import pytest
from planted_evidence import planted_examples, train_planted, truths
from scipy.stats import spearmanr

from mm_keras.explanation.methods import METHODS, used
from mm_keras.explanation.subjects import RunSubject
from mm_keras.model import build_model

pytestmark = pytest.mark.slow
STEPS = 16


def maps_of(run, method, examples, labels):
    """Returns `[{input: map}]` of the inputs that the method itself applies to."""
    found = []
    for example, label in zip(examples, labels, strict=True):
        subject = RunSubject(run, example)
        column = np.array([subject.engine.columns["category"].start + label], np.int32)
        made, _ = METHODS[method](subject.engine, subject.tensors, column, STEPS)
        names = [n for n, m in used(method, subject.engine).items() if m == method]
        found.append({n: subject.panel(n, made[n][0])[0] for n in names})
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Maps of every method of a trained model and of the same with all weights drawn anew, with the evidence."""
    run = train_planted(tmp_path_factory.mktemp("planted"))
    examples, labels, places = planted_examples(10, seed=78)
    panels = [{n: RunSubject(run, e).panel(n, a) for n, a in _zeros(run, e).items()} for e in examples]
    masks = [
        truths(place, {n: m for n, (m, _) in p.items()}, {n: q for n, (_, q) in p.items()})
        for place, p in zip(places, panels, strict=True)
    ]
    counts = {m: 3 if m == "activation_maximisation" else 6 if m == "scorecam" else 10 for m in METHODS}
    trained = {m: maps_of(run, m, examples[:c], labels[:c]) for m, c in counts.items()}
    keras.utils.set_random_seed(5)
    fresh = build_model(run.recipe, run.tensors, run.tasks)
    run.model.set_weights(fresh.get_weights())
    return trained, {m: maps_of(run, m, examples[:c], labels[:c]) for m, c in counts.items()}, masks


def _zeros(run, example):
    subject = RunSubject(run, example)
    return {n: np.zeros(v.shape[1:]) for n, v in subject.engine.observe(subject.tensors).entries.items()}


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_random_model_are_others(both, method):
    trained, random, _ = both
    found = {}
    for one, other in zip(trained[method], random[method], strict=True):
        for n in one:
            if one[n].size > 2 and np.ptp(one[n]) and np.ptp(other[n]):
                found.setdefault(n, []).append(spearmanr(np.abs(one[n]).ravel(), np.abs(other[n]).ravel())[0])
    print(
        "CASCADE",
        method,
        {n: round(float(np.mean(v)), 2) for n, v in found.items()},
        round(float(np.mean([c for v in found.values() for c in v])), 3),
    )
    assert np.mean([c for v in found.values() for c in v]) <= 0.6


@pytest.mark.parametrize("method", METHODS)
def test_maps_point_at_the_evidence(both, method):
    trained, random, masks = both

    def pointing(maps):
        return {
            n: np.mean([m[n].flat[o[n].argmax()] for o, m in zip(maps, masks) if n in m and n in o]) for n in maps[0]
        }

    def mass(maps):
        return {
            n: round(
                float(
                    np.mean(
                        [
                            np.maximum(o[n], 0)[m[n]].sum() / max(np.maximum(o[n], 0).sum(), 1e-9)
                            for o, m in zip(maps, masks)
                            if n in m and n in o
                        ]
                    )
                ),
                2,
            )
            for n in maps[0]
        }

    print(
        "POINT",
        method,
        {n: round(float(v), 2) for n, v in pointing(trained[method]).items()},
        mass(trained[method]),
        {n: round(float(v), 2) for n, v in pointing(random[method]).items()},
    )
