"""Trained models, examples whose evidence is known: do the explanations point at it? Three trainings."""

import functools

import numpy as np
import pandas as pd
import pytest
from planted_evidence import INPUTS, planted_run
from sklearn.metrics import roc_auc_score

import mm_keras as mm

SEEDS = (0, 1, 2)
FIRST_SLOW = [pytest.param(seed, marks=pytest.mark.long if seed else pytest.mark.slow) for seed in SEEDS]


@pytest.fixture(scope="session")  # workers that steal tests come back to this file
def trained(once):
    """`seed -> (Run, its manifest)`, each trained once."""
    return functools.cache(lambda seed: planted_run(once, seed))


@pytest.fixture(scope="session")
def qualities(trained):
    """`seed -> Quality`."""

    @functools.cache
    def measure(seed):
        run, manifest = trained(seed)
        return mm.explain_quality(run, methods="integrated_gradients", rows=60, truths=manifest)

    return measure


@pytest.fixture(scope="module", params=FIRST_SLOW)
def planted(request, trained):
    return trained(request.param)


@pytest.fixture
def quality(request, planted, qualities):
    return qualities(request.node.callspec.params["planted"])


@pytest.fixture(scope="module")
def weighed(planted):
    """`(Importance, bool (rows, inputs): carries evidence)` of the test rows that are predicted right."""
    run, manifest = planted
    found = mm.importance(run)
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False).set_index("id").loc[found.rows["id"]]
    carries = np.stack([table[f"{n}_evidence"].to_numpy() != "" for n in INPUTS], axis=1)
    right = found.rows["target"].to_numpy() == table["category"].to_numpy()
    assert right.mean() >= 0.95
    return found, carries, right


def test_maps_point_at_the_evidence_and_random_ones_do_not(quality):
    # Measured with three trainings: pointing 1.0; mass of photo .80, .92, .92, title .99, voice .82 to .93, facts .89
    # to .96, features .96; of random maps .06, .15, .04, .14 and .13 at most. The mass of the photo varies most between
    # trainings: the rest is noise all over the picture, to which residual blocks keep answering.
    for name in INPUTS:
        own, random = (quality.scores[m][name] for m in ("integrated_gradients", "random"))
        assert own["pointing"]["value"] >= 0.95, name
        # 0.8 was reached by each of the three, .801 once; another machine's rounding trains another model, so that 0.8
        # is asked of the three together.
        assert own["mass"]["value"] >= 0.75, name
        assert max(random["mass"]["value"], random["pointing"]["value"]) <= 0.2, name
        assert own["gap"]["low"] > random["gap"]["high"], name
        assert own["sensitivity"]["value"] > random["sensitivity"]["value"] + 0.05, name
    assert quality.completeness["integrated_gradients"]["median"] <= 0.01


@pytest.mark.long
def test_the_relevance_lies_on_the_evidence(qualities):
    for name in INPUTS:
        masses = [qualities(seed).scores["integrated_gradients"][name]["mass"]["value"] for seed in SEEDS]
        assert np.mean(masses) >= 0.8, (name, masses)


def test_scores_tell_which_inputs_carry_evidence(weighed):
    found, carries, right = weighed
    scores = found.rows[[f"{n}_score" for n in INPUTS]].to_numpy()[right]
    carries = carries[right]
    assert roc_auc_score(carries.ravel(), scores.ravel()) >= 0.99
    assert min(roc_auc_score(carries[:, i], scores[:, i]) for i in range(len(INPUTS))) >= 0.99
    assert carries[np.arange(len(scores)), scores.argmax(axis=1)].mean() >= 0.99


def test_scores_add_up(weighed):
    rows = weighed[0].rows
    total = rows[[f"{n}_score" for n in INPUTS]].sum(axis=1)
    assert np.abs(total - (rows["value"] - rows["base_value"])).max() <= 1e-4


def test_the_whole_accuracy_is_shared_out(weighed):
    found = weighed[0]
    shared = sum(entry["performance"]["value"] for entry in found.inputs.values())
    assert shared == pytest.approx(found.measured["all"] - found.measured["none"], abs=1e-9)
    # All inputs carry as much.
    assert all(0.08 <= e["performance"]["value"] <= 0.25 for e in found.inputs.values())
