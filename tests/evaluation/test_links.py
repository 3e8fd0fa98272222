"""Link prediction: ranks counted by hand, splits, and what is written."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mm_keras import link_prediction
from mm_keras.cli import app
from mm_keras.data.catalog.families import make_families
from mm_keras.errors import DataError
from mm_keras.evaluation.links import filtered_ranks, score_all, score_ranks, split_triples

# On a line: entities at 0, 1, 2, 3 and 3 again; the relation moves by 1.
LINE, MOVE = np.array([[0], [1], [2], [3], [3]], np.float32), np.array([[1]], np.float32)


def test_filtered_ranks_by_hand():
    known = np.array([[0, 0, 1], [0, 0, 2], [1, 0, 3], [2, 0, 2]])
    # 0 + 1 = 1; distances of tails 0..4: 1, 0, 1, 2, 2.
    #   tail 1 is the nearest: rank 1. Head of 1: distances 0, 1, 2, 3, 3: rank 1.
    #   tail 2: 1 is nearer but true, 0 is as near: 1 + 1/2. Head of 2: 1 is nearer; 2 is as near as 0, but true:
    #   only 1 counts: rank 2.
    # 1 + 1 = 2, tail 3: distances 2, 1, 0, 1, 1: 2 is nearer, 1 and 4 are as near: 1 + 1 + 2/2 = 3. Head of 3: 2 is
    #   nearer (0), then 1 (1), 3 and 4 (1): rank 1 + 1 + 2/2 = 3.
    got = filtered_ranks("transe", LINE, MOVE, known[:3], known)
    np.testing.assert_allclose(got, [[1, 1], [1.5, 2], [3, 3]])


def test_ranks_of_every_chunk_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, moves = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    known = np.stack([rng.integers(30, size=50), rng.integers(3, size=50), rng.integers(30, size=50)], 1)
    whole = filtered_ranks("distmult", vectors, moves, known, known)
    monkeypatch.setattr("mm_keras.evaluation.links.MOST_SCORES", 1)
    np.testing.assert_array_equal(filtered_ranks("distmult", vectors, moves, known, known), whole)
    for (h, r, t), (tail_rank, head_rank) in zip(known, whole, strict=True):  # again, one by one
        tails, heads = (vectors[h] * moves[r]) @ vectors.T, vectors @ (moves[r] * vectors[t])
        true_tails, true_heads = ({k[j] for k in known if (k[i], k[1]) == (o, r)} for i, j, o in ((0, 2, h), (2, 0, t)))
        assert tail_rank == 1 + sum(tails[i] > tails[t] for i in range(30) if i not in true_tails)
        assert head_rank == 1 + sum(heads[i] > heads[h] for i in range(30) if i not in true_heads)


def test_scores_of_ranks_by_hand():
    got = score_ranks(np.array([[1, 2], [4, 20]]))
    assert got["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 20) / 4)
    assert [got[f"hits_at_{k}"] for k in (1, 3, 10)] == [0.25, 0.5, 0.75]


def test_every_entity_and_relation_is_trained():
    rng = np.random.default_rng(1)
    rows = np.unique(np.stack([rng.integers(n, size=90) for n in (20, 4, 20)], axis=1), axis=0)
    rows = np.concatenate([rows, [[20, 0, 1], [3, 4, 5], [21, 1, 21]]])  # an entity, a relation and a loop of their own
    parts = split_triples(rows, (0.6, 0.2, 0.2), seed=3)
    assert sorted(map(tuple, np.concatenate(list(parts.values())))) == sorted(map(tuple, rows))
    assert set(parts["train"][:, [0, 2]].ravel()) == set(range(22))
    assert set(parts["train"][:, 1]) == set(range(5))
    assert len(parts["test"]) == len(parts["validation"]) == round(0.2 * len(rows))
    again, other = split_triples(rows, (0.6, 0.2, 0.2), seed=3), split_triples(rows, (0.6, 0.2, 0.2), seed=4)
    np.testing.assert_array_equal(parts["test"], again["test"])
    assert not np.array_equal(parts["test"], other["test"])
    with pytest.raises(DataError, match="no triple is left to test on"):
        split_triples(np.array([[0, 0, 1], [2, 1, 3]]), (0.5, 0.0, 0.5))
    with pytest.raises(DataError, match=r"adding up to 1"):
        split_triples(rows, (0.5, 0.1, 0.1))


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    return make_families(tmp_path_factory.mktemp("families"), families=8).parent


def test_link_prediction_writes_what_it_returns(families, tmp_path):
    found = link_prediction(families / "triples.csv", tmp_path, dim=16, epochs=60, seed=2)
    assert json.loads((tmp_path / "metrics.json").read_text()) == found.metrics
    ranks = pd.read_csv(tmp_path / "ranks.csv")
    rescored = score_ranks(ranks[["tail_rank", "head_rank"]].to_numpy())
    assert rescored["mrr"] == pytest.approx(found.metrics["test"]["mrr"])
    # Chance is 0.06 of some 90 entities; eight families of about ten are soon told apart.
    assert found.metrics["test"]["mrr"] > 0.3
    vectors = pd.read_csv(tmp_path / "entities.csv").set_index("entity")
    np.testing.assert_allclose(vectors.loc[found.entities].to_numpy(), found.entity_vectors, rtol=1e-5)
    again = link_prediction(pd.read_csv(families / "triples.csv"), dim=16, epochs=60, seed=2)
    np.testing.assert_array_equal(again.ranks, found.ranks)
    best = found.tails("p0000", "husband_of", count=3)
    query = np.array([[found.entities.index("p0000"), found.relations.index("husband_of"), 0]])
    scores = score_all("transe", found.entity_vectors, found.relation_vectors, query, "tail")[0]
    assert best["score"].tolist() == sorted(scores, reverse=True)[:3]
    assert scores[found.entities.index(best["entity"][0])] == best["score"][0]
    assert "p0000" in found.heads("husband_of", "p0001")["entity"].tolist()
    with pytest.raises(DataError, match=r"no relation 'husband'\. Did you mean 'husband_of'\?"):
        found.tails("p0000", "husband")


def test_a_column_of_splits_is_kept_to(families):
    table = pd.read_csv(families / "triples.csv")
    table["split"] = np.where(table["relation"] == "husband_of", "test", "train")
    found = link_prediction(table, epochs=2)
    assert found.metrics["test"]["triples"] == (table["split"] == "test").sum() == len(found.ranks)
    assert "validation" not in found.metrics
    with pytest.raises(DataError, match="train and of test"):
        link_prediction(table.assign(split="train"))
    with pytest.raises(DataError, match="split must be one of"):
        link_prediction(table.assign(split="later"))


def test_the_command_line_says_the_same(families, tmp_path):
    out = tmp_path / "links"
    options = ["--out", str(out), "--epochs", "3", "--dim", "8", "--method", "distmult"]
    result = CliRunner().invoke(app, ["link", str(families / "triples.csv"), *options])
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    expected = link_prediction(families / "triples.csv", method="distmult", epochs=3, dim=8).metrics
    assert {k: v for k, v in metrics.items() if k != "seconds"} == {k: v for k, v in expected.items() if k != "seconds"}
    assert f"filtered MRR={metrics['test']['mrr']:.3f}" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "complex"}, "`method` must be one of"),
        ({"dim": 0}, "must be at least 1"),
        ({"triples": [("a", "r", "b"), ("a", "", "c")]}, "1 triples lack a head, relation or tail. First: row 2"),
        ({"triples": []}, "there are no triples"),
        ({"triples": [("a", "b")]}, "rows of head, relation and tail"),
        ({"triples": "nowhere.csv"}, "there is no such file"),
    ],
)
def test_faults(options, message):
    with pytest.raises(DataError, match=message):
        link_prediction(**{"triples": [("a", "r", "b")], **options})
