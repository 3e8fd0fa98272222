"""From the trainings of a comparison to its numbers and sentences."""

import numpy as np
import pandas as pd

from mm_keras.comparison.scores import compare_gains, gains_of, pooled
from mm_keras.comparison.verdict import MARGIN, addition, headline, judge, warnings_of
from mm_keras.data.folds import whole_groups
from mm_keras.errors import DataError

COSTS = ("parameters", "step_ms", "latency_ms", "bytes")
NOTHING = dict.fromkeys(("value", "low", "high"), np.nan)


def tally(candidates, cells, rows, task, seed):
    """Returns the fields of a `Comparison` that follow from its trainings.

    Args:
        candidates: `Candidate`s.
        cells: `{candidate name: [Cell of each fold]}`, without ensembles.
        rows: All `Rows`.
        task: Name of the task.
        seed: Of the bootstrap.

    Raises:
        DataError: When no test row has a label.
    """
    is_share = task in next(iter(cells.values()))[0].facts["classes"]
    measure, sign = ("accuracy", 1) if is_share else ("mae", -1)
    ids, test = _aligned(_gains(candidates, cells, rows, task, "test"), task)
    validation = _gains(candidates, cells, rows, task, "validation")
    means = {n: float(np.mean(list(v.values()) or test[n])) for n, v in validation.items()}

    def best(*roles):
        return max((c.name for c in candidates if c.role in roles), key=means.get, default=None)

    single, winner, joint, ensemble = best("alone"), best("fusion", "ensemble"), best("fusion"), best("ensemble")
    first = next(c for c in candidates if c.role == "fusion")
    rests = _rests(candidates, first)
    pairs = [(n, single) for n in test if single] + [(first.name, rest) for rest in rests.values()]
    pairs += [(ensemble, joint)] if ensemble else []
    found = compare_gains(test, list(dict.fromkeys(pairs)), _groups(rows, ids), seed)

    lines = {}
    for c in candidates:
        gap = found.get((c.name, single), NOTHING)
        own = dict(zip(("low", "high"), sorted(sign * found[c.name][k] for k in ("low", "high")), strict=True))
        lines[c.name] = {"role": c.role, "inputs": " + ".join(c.inputs), "value": sign * found[c.name]["value"], **own}
        lines[c.name] |= {"gain": gap["value"], "gain_low": gap["low"], "gain_high": gap["high"]}
        lines[c.name] |= {"validation": sign * means[c.name], **_cost(c, candidates, cells)}
    adds = {n: found[first.name, rest] for n, rest in rests.items()}
    told = {
        "n": len(ids),
        "lines": pd.DataFrame.from_dict(lines, orient="index").rename_axis("candidate"),
        "best": winner,
        "single": single,
        "adds": adds,
    }
    if not single:
        return told | {"verdict": None, "sentences": (f"{winner} is best on validation rows.",), "warnings": ()}
    margin, gap = MARGIN if is_share else MARGIN * abs(found[single]["value"]), found[winner, single]
    verdict = judge(gap, margin)
    sentences = [headline(verdict, winner, single, gap, measure, len(ids))]
    sentences += [addition(n, [o for o in first.inputs if o != n], adds[n], measure) for n in adds]
    seen = {"verdict": verdict, "single": single, "ensemble": ensemble, "joint": joint}
    advice = warnings_of(seen | {"ensemble_gap": found[ensemble, joint]}, margin)
    return told | {"verdict": verdict, "sentences": tuple(sentences), "warnings": advice}


def _gains(candidates, cells, rows, task, split):
    """Returns `{candidate: {row id: gain}}`, all folds together."""
    singles = [c.name for c in candidates if c.role == "alone"]
    folds = range(len(next(iter(cells.values()))))
    found = {}
    for c in candidates:
        found[c.name] = {}
        for fold in folds:
            if c.role != "ensemble":
                found[c.name] |= gains_of(cells[c.name][fold], split, rows, task)
                continue
            own = {n: cells[n][fold] for n in singles}
            one = next(iter(own.values()))
            if split in one.outputs:
                is_product = c.name == "ensemble_product" and task in one.facts["classes"]
                found[c.name] |= gains_of(one, split, rows, task, pooled(own, split, task, is_product))
    return found


def _aligned(gains, task):
    """Returns `(ids, {candidate: float array})` of the rows that every candidate was scored on."""
    ids = sorted(set.intersection(*(set(g) for g in gains.values())))
    if not ids:
        raise DataError(f"tasks.{task}: no test row has a label.")
    return ids, {n: np.array([g[i] for i in ids]) for n, g in gains.items()}


def _rests(candidates, first):
    """Returns `{input: name of the candidate that has all inputs but this}`."""
    smaller = {frozenset(c.inputs): c.name for c in candidates if c.role in ("without", "alone")}
    rests = {n: frozenset(first.inputs) - {n} for n in first.inputs}
    return {n: smaller[rest] for n, rest in rests.items() if rest in smaller}


def _groups(rows, ids):
    if rows.groups is None:
        return None
    place = {i: n for n, i in enumerate(rows.ids)}
    return whole_groups(rows.groups)[[place[i] for i in ids]]


def _cost(candidate, candidates, cells):
    """Returns parameters, time of a step, latency and bytes; of an ensemble those of its models together."""
    names = [c.name for c in candidates if c.role == "alone"] if candidate.role == "ensemble" else [candidate.name]
    known = {k: [[c.facts[k] for c in cells[n] if k in c.facts] or [np.nan] for n in names] for k in COSTS}
    return {k: float(sum(np.median(folds) for folds in models)) for k, models in known.items()}
