"""Link prediction: which tail does a head have by a relation, and which head a tail? From triples alone."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.graphs import read_triples
from mm_keras.errors import DataError
from mm_keras.registry import nearest
from mm_keras.training.knowledge import SCORES, check_method, numbered, train_vectors

HITS = (1, 3, 10)
# Scores held at a time: 16 MB of float32.
MOST_SCORES = 4_000_000


@dataclass(frozen=True)
class LinkPrediction:
    """What `link_prediction` returns.

    Args:
        method: `"transe"` or `"distmult"`.
        entities: The entities' names; a name's place is its number.
        relations: The relations' names.
        entity_vectors: Float32 `(entities, dim)`.
        relation_vectors: Float32 `(relations, dim)`.
        metrics: Of `"validation"` and `"test"`, each `{"triples", "mrr", "hits_at_1", "hits_at_3", "hits_at_10"}`, and
            how the vectors were trained.
        ranks: Float64 `(test triples, 2)`: the rank of the true tail, and of the true head.
    """

    method: str
    entities: list
    relations: list
    entity_vectors: np.ndarray
    relation_vectors: np.ndarray
    metrics: dict
    ranks: np.ndarray = field(repr=False)

    def __repr__(self):
        test = self.metrics["test"]
        return (
            f"LinkPrediction({self.method!r}, {len(self.entities)} entities, {len(self.relations)} relations, "
            f"{test['triples']} test triples, filtered MRR={test['mrr']:.3f}, Hits@10={test['hits_at_10']:.3f})"
        )

    def tails(self, head, relation, count=10):
        """Returns the likeliest tails of a head by a relation: DataFrame of `entity` and `score`, best first.

        Raises:
            DataError: On an unknown name.
        """
        query = np.array([[self._number("entity", head, self.entities), self._number_of(relation), 0]], np.int32)
        return self._best(query, "tail", count)

    def heads(self, relation, tail, count=10):
        """Returns the likeliest heads of a tail by a relation, as `tails` does.

        Raises:
            DataError: On an unknown name.
        """
        query = np.array([[0, self._number_of(relation), self._number("entity", tail, self.entities)]], np.int32)
        return self._best(query, "head", count)

    def _number_of(self, relation):
        return self._number("relation", relation, self.relations)

    @staticmethod
    def _number(kind, name, names):
        if name not in names:
            raise DataError(f"the triples have no {kind} {name!r}.{nearest(name, names[:10_000])}")
        return names.index(name)

    def _best(self, query, side, count):
        scores = score_all(self.method, self.entity_vectors, self.relation_vectors, query, side)[0]
        best = np.argsort(-scores, kind="stable")[:count]
        return pd.DataFrame({"entity": [self.entities[i] for i in best], "score": scores[best]})


def link_prediction(triples, out=None, *, method="transe", dim=32, epochs=100, split=(0.8, 0.1, 0.1), seed=0):
    """Learns vectors on most of the triples, and ranks the others among all corrupted ones.

    Args:
        triples: The path of a table with the columns `head`, `relation` and `tail` (CSV, TSV, JSONL or Parquet), a
            DataFrame of them, or rows of three names. A column `split` (train, validation or test) is kept to.
        out: Folder for `metrics.json`, `ranks.csv`, `entities.csv` and `relations.csv` (names and vectors); nothing is
            written by default.
        method: `"transe"` or `"distmult"`. Defaults to `"transe"`.
        dim: Length of the vectors. Defaults to `32`.
        epochs: Passes over the training triples. Defaults to `100`.
        split: Shares of train, validation and test. A triple that alone names an entity or a relation is always one of
            training. Defaults to `(0.8, 0.1, 0.1)`.
        seed: Of split and training. Defaults to `0`.

    Returns:
        A `LinkPrediction`, whose ranks are filtered: other true triples, of any split, are no competitors.

    Raises:
        DataError: When the triples cannot be read, the shares do not add up to 1, or no triple is left to test on.

    Reference:
        Bordes et al. 2013, Translating Embeddings for Modeling Multi-relational Data, section 4.1 (the filtered ranks).
        Differs: ties count by their mean rank.
    """
    check_method(method)
    if dim < 1 or epochs < 1:
        raise DataError(f"`dim` and `epochs` must be at least 1. Received: dim={dim}, epochs={epochs}")
    began = time.time()
    triples, splits = read_triples(Path(triples) if isinstance(triples, str) else triples)
    rows, entities, relations = numbered(triples)
    parts = split_triples(rows, split, seed) if splits is None else _given(rows, np.array(splits))
    how = {"method": method, "dim": dim, "epochs": epochs, "seed": seed}
    vectors = train_vectors(parts["train"], len(entities), len(relations), **how)
    ranks = {s: filtered_ranks(method, *vectors, parts[s], rows) for s in ("validation", "test")}
    metrics = {s: {"triples": len(r), **score_ranks(r)} for s, r in ranks.items() if len(r)}
    metrics |= {"train": {"triples": len(parts["train"])}, "entities": len(entities), "relations": len(relations)}
    metrics |= {**how, "seconds": round(time.time() - began, 1)}
    found = LinkPrediction(method, entities, relations, *vectors, metrics, ranks["test"])
    if out is not None:
        _write(Path(out), found, parts["test"])
    return found


def _given(rows, splits):
    parts = {name: rows[splits == name] for name in ("train", "validation", "test")}
    if not len(parts["train"]) or not len(parts["test"]):
        raise DataError("the column `split` must name triples of train and of test.")
    return parts


def split_triples(rows, shares, seed=0):
    """Splits triples at random; every entity and relation occurs in those of training.

    Args:
        rows: Int array `(triples, 3)`.
        shares: Of train, validation and test.
        seed: Of the draw. Defaults to `0`.

    Returns:
        `{"train": (rows, 3), "validation": .., "test": ..}`.

    Raises:
        DataError: When the shares are no three that add up to 1, or no triple is left to test on.
    """
    if len(shares) != 3 or min(shares) < 0 or not np.isclose(sum(shares), 1.0):
        raise DataError(f"`split` takes the shares of train, validation and test, adding up to 1. Received: {shares}")
    order = np.random.default_rng(seed).permutation(len(rows))
    wanted = {"validation": round(shares[1] * len(rows)), "test": round(shares[2] * len(rows))}
    left = [np.bincount(rows[:, [0, 2]].ravel()), np.bincount(rows[:, 1])]
    parts = {"validation": [], "test": []}
    train = []
    for i in order:
        head, relation, tail = rows[i]
        # Each end keeps one more triple; a loop counts both of its ends.
        spare = left[1][relation] > 1 and min(left[0][head], left[0][tail]) > (2 if head == tail else 1)
        part = next((p for p in ("test", "validation") if len(parts[p]) < wanted[p]), None)
        if part is None or not spare:
            train.append(i)
            continue
        parts[part].append(i)
        left[1][relation] -= 1
        for end in (head, tail):
            left[0][end] -= 1
    if not parts["test"]:
        raise DataError(
            f"no triple is left to test on: of {len(rows)}, those that alone name an entity or a relation are needed "
            "for training."
        )
    return {"train": rows[sorted(train)], **{name: rows[np.sort(p).astype(int)] for name, p in parts.items()}}


def score_all(method, entities, relations, queries, side):
    """Returns the scores of every entity at one side of some triples, float32 `(queries, entities)`.

    Args:
        method: `"transe"` or `"distmult"`.
        entities: Float32 `(entities, dim)`.
        relations: Float32 `(relations, dim)`.
        queries: Int array `(queries, 3)`; what stands at `side` is not looked at.
        side: `"head"` or `"tail"`.
    """
    relation, every = relations[queries[:, 1], None], entities[None]
    if side == "tail":
        return SCORES[method](entities[queries[:, 0], None], relation, every).numpy()
    return SCORES[method](every, relation, entities[queries[:, 2], None]).numpy()


def filtered_ranks(method, entities, relations, triples, known):
    """Ranks the true tail and the true head of each triple among all entities, other true ones left out.

    Args:
        method: As in `score_all`.
        entities: As in `score_all`.
        relations: As in `score_all`.
        triples: Int array `(rows, 3)`, ranked.
        known: Int array `(rows, 3)`, everything that is true.

    Returns:
        Float64 `(rows, 2)`, for the tail and the head: 1 + the number of better ones + half of those that are equal.
    """
    answers = {"tail": {}, "head": {}}
    for h, r, t in known.tolist():
        answers["tail"].setdefault((h, r), []).append(t)
        answers["head"].setdefault((r, t), []).append(h)
    ranks = np.zeros((len(triples), 2))
    size = max(1, MOST_SCORES // (entities.size or 1))
    for begin in range(0, len(triples), size):
        rows = triples[begin : begin + size]
        for column, (side, at) in enumerate((("tail", 2), ("head", 0))):
            scores = score_all(method, entities, relations, rows, side)
            for i, (h, r, t) in enumerate(rows.tolist()):
                own = scores[i, rows[i, at]]
                others = np.delete(scores[i], answers[side][(h, r) if side == "tail" else (r, t)])
                ranks[begin + i, column] = 1 + np.sum(others > own) + 0.5 * np.sum(others == own)
    return ranks


def score_ranks(ranks):
    """Returns `{"mrr", "hits_at_1", "hits_at_3", "hits_at_10"}`: the mean of 1 / rank, the shares of ranks up to k."""
    return {"mrr": float(np.mean(1 / ranks)), **{f"hits_at_{k}": float(np.mean(ranks <= k)) for k in HITS}}


def _write(folder, found, test):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(found.metrics, indent=1), encoding="utf-8")
    for name, names, vectors in (
        ("entities", found.entities, found.entity_vectors),
        ("relations", found.relations, found.relation_vectors),
    ):
        table = pd.DataFrame(vectors, columns=[f"v{i}" for i in range(vectors.shape[1])])
        table.insert(0, name[:-1] if name == "relations" else "entity", names)
        table.to_csv(folder / f"{name}.csv", index=False)
    names = {
        "head": [found.entities[h] for h in test[:, 0]],
        "relation": [found.relations[r] for r in test[:, 1]],
        "tail": [found.entities[t] for t in test[:, 2]],
    }
    ranks = {"tail_rank": found.ranks[:, 0], "head_rank": found.ranks[:, 1]}
    pd.DataFrame({**names, **ranks}).to_csv(folder / "ranks.csv", index=False)
