"""`mm_keras.explain_quality`: are the explanations of a run right, and which method's are best?"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import rows_to_score
from mm_keras.evaluation.metrics import with_intervals
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.panels import make_panel
from mm_keras.explanation.quality import measures
from mm_keras.explanation.quality.randomised import STAGES, randomised
from mm_keras.explanation.quality.truths import read_truths, truth_mask
from mm_keras.explanation.quality.units import Units, values_without
from mm_keras.explanation.subjects import run_engine
from mm_keras.preprocessing.raw import raw_batch
from mm_keras.registry import nearest
from mm_keras.saving import save
from mm_keras.training.run import load_run

RANDOM = "random"
# Those that ask the model a few times an example, of the methods that there are.
QUICK = tuple(m for m in ("integrated_gradients", "gradient_x_input", "gradient", "gradcam") if m in METHODS)
BLOCK_ROWS = 32  # explained at a time, which keeps memory flat
# In the order of the table; `True` where more is better.
MEASURES = {
    "gap": True, "deletion": False, "insertion": True, "sensitivity": True, "pointing": True, "mass": True,
    **{f"randomised: {stage}": False for stage in STAGES},
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Quality:
    """How right the explanations of a run are.

    An interval is `{"value": mean, "low": l, "high": h, "n": rows}`, 95 %, by the bootstrap over the rows that have it.

    Args:
        task: The task explained; of a classification the predicted class.
        n: Number of rows.
        scores: `{method: {input: {measure: interval}}}`, with the method `"random"`, a map of normal noise.

            - `gap`: insertion less deletion; `insertion`, `deletion`: areas under the output as an input's parts are
              put back, and taken away, the most relevant first; 0 is the output without the input's parts, 1 with them,
              the mean over rows.
            - `sensitivity`: correlation of what random fifths of the parts should be worth with what the output loses
              without them.
            - `pointing`, `mass`, where truths are given: the share of maps whose largest value is on the evidence, and
              the share of positive relevance there, over rows predicted right whose input carries evidence.
            - `randomised: ..`, when asked for: rank correlation with the map of a model whose weights are drawn anew; a
              method near 1 does not look at the model.
        completeness: `{method: {"median": m, "largest": l} or None}`: how far maps are from adding up, relative, as
            `Explanation.error`; `None` for methods that keep no sum.
        curves: `{method: {input: {"deletion": [..], "insertion": [..]}}}`, means over rows, as above.
    """

    task: str
    n: int
    scores: dict
    completeness: dict
    curves: dict

    def table(self):
        """Returns a DataFrame: a line an input and method, a column a measure; the best of an input first."""
        lines = []
        for name in next(iter(self.scores.values())):
            for method, by_input in self.scores.items():
                entry = by_input[name]
                line = {k: entry[k]["value"] for k in MEASURES if k in entry}
                complete = self.completeness[method]
                line["completeness"] = np.nan if complete is None else complete["median"]
                lines.append({"input": name, "method": method, **line})
        table = pd.DataFrame(lines)
        order = {n: i for i, n in enumerate(dict.fromkeys(table["input"]))}
        table = table.assign(at=table["input"].map(order)).sort_values(["at", "gap"], ascending=[True, False])
        return table.drop(columns="at").set_index(["input", "method"])

    def __repr__(self):
        return f"Quality({self.task}, n={self.n})\n{self.table().to_string(float_format='{:.3g}'.format, na_rep='')}"

    def _repr_html_(self):
        more = ", ".join(k for k, up in MEASURES.items() if up)
        table = self.table().to_html(float_format="{:.3g}".format, na_rep="")
        return f"<p>{self.task}: {self.n} rows. More is better of {more}; less of the others.</p>{table}"

    def to_html(self):
        """Returns a whole HTML page."""
        return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{self.task}</title>{self._repr_html_()}'

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.explanation.quality.plot import plot_quality

        return plot_quality(self)

    def to_json(self):
        """Returns every number as JSON."""
        keys = ("task", "n", "scores", "completeness", "curves")
        return json.dumps({k: getattr(self, k) for k in keys}, ensure_ascii=False, indent=1, allow_nan=False)

    def save(self, path):
        """Writes the picture, the numbers, the table or the page: `.png`, `.json`, `.csv` or `.html`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        forms = {".png": self.plot, ".json": self.to_json, ".csv": lambda: self.table().to_csv()}
        return save(path, "the quality of explanations", forms | {".html": self.to_html})


def explain_quality(
    run, data=None, methods=None, rows=100, task=None, truths=None, *, randomise=False, steps=64, seed=0
):
    """Measures how right explanations are, each method beside a random map.

    What taking a part of an input away means is told in `mm_keras.explanation.quality.units`: its numbers are zero
    where the input enters the model, the blank value, while the input counts as present.

    Args:
        run: A `Run` or its folder.
        data: Rows as `evaluate` takes them. Defaults to the run's own test rows.
        methods: Names of `methods.METHODS`. `None` takes `QUICK`, those that ask the model a few times an example.
        rows: Most rows looked at, drawn at random.
        task: Which task. Defaults to the recipe's first.
        truths: Where the evidence lies, as `quality.truths.read_truths` takes it: the path of a CSV or a DataFrame.
        randomise: Whether to compare maps with those of models whose weights are drawn anew too.
        steps: Points on the way of integrated gradients.
        seed: Of the rows, the random maps and subsets, and the weights drawn anew.

    Returns:
        A `Quality`.

    Raises:
        DataError: On an unknown task or method, when there are no rows, or truths cannot be read.
    """
    run = load_run(run)
    task = next(iter(run.tasks)) if task is None else _known("task", task, run.tasks)
    methods = [methods] if isinstance(methods, str) else list(methods or QUICK)
    methods = [_known("method", m, METHODS) for m in methods]
    truths = None if truths is None else read_truths(truths, list(run.recipe.inputs))
    data, _ = rows_to_score(run, data)
    rng = np.random.default_rng(seed)
    if len(data) > rows:
        data = data.take(np.sort(rng.choice(len(data), rows, replace=False)))
    engine, others = run_engine(run), {}
    if randomise:
        others = {stage: run_engine(run, randomised(run.model, stage, seed)) for stage in STAGES}
    bench = _Bench(run, task, engine, others, truths, steps, rng)
    for start in range(0, len(data), BLOCK_ROWS):
        bench.measure(data.take(np.arange(start, min(start + BLOCK_ROWS, len(data)))), methods)
    return bench.result([*methods, RANDOM], seed)


class _Bench:
    """Measures block after block of rows, and keeps a few numbers of each row."""

    def __init__(self, run, task, engine, others, truths, steps, rng):
        self.run, self.task, self.engine, self.others = run, task, engine, others
        self.truths, self.steps, self.rng = truths, steps, rng
        self.found, self.errors, self.curves, self.n = {}, {}, {}, 0

    def measure(self, rows, methods):
        examples = [rows.example(i) for i in range(len(rows))]
        tensors, fine = self.run.encode(examples)
        keep = np.all([ok for ok in fine.values()], axis=0)
        rows, tensors = rows.take(keep), {n: t[keep] for n, t in tensors.items()}
        raw = raw_batch(self.run.preprocessors, [e for e, ok in zip(examples, keep, strict=True) if ok] or examples)
        self.n += len(rows)
        if not len(rows):
            return
        task, columns = self.run.tasks[self.task], self.engine.columns[self.task]
        seen = self.engine.observe(tensors)
        outputs = seen.scores[:, columns]
        best = outputs.argmax(axis=1) if task.is_categorical else np.zeros(len(rows), int)
        column = (columns.start + best).astype(np.int32)
        values = outputs[np.arange(len(rows)), best].astype(np.float64)
        masks = self._masks(rows, tensors, seen, raw, best)

        units = {n: Units(p, seen.entries[n].shape[1:]) for n, p in self.run.preprocessors.items()}
        there = {n: u.filled(seen.entries[n], seen.held.get(n)) for n, u in units.items()}
        gone = {n: measures.subsets(there[n], self.rng) for n in units}

        def without(name, away):
            return values_without(self.engine, seen, column, name, units[name], away)

        drops = {n: values[:, None] - without(n, gone[n]) for n in units}
        for method in (*methods, RANDOM):
            if method == RANDOM:
                maps, start = {n: self._noise(units[n], v.shape) for n, v in seen.entries.items()}, None
            else:
                maps, start = METHODS[method](self.engine, tensors, column, self.steps)
            self._note_errors(method, maps, values, start)
            for name in units:
                relevance, own = units[name].sums(maps[name]), self.found.setdefault((method, name), {})
                has = there[name].any(axis=1)

                def note(measure, numbers, own=own, has=has):
                    own.setdefault(measure, []).append(np.where(has, numbers, np.nan))

                note("curves", 0.0)
                down, up = measures.curves(lambda a, n=name: without(n, a), relevance, there[name])
                self.curves.setdefault((method, name), []).append((down[has], up[has]))
                note("sensitivity", measures.sensitivity(relevance, gone[name], drops[name]))
                for measure, numbers in self._pointed(name, maps[name], masks, tensors, raw).items():
                    note(measure, numbers)
            if method != RANDOM:
                for stage, other in self.others.items():
                    drawn, _ = METHODS[method](other, tensors, column, self.steps)
                    for name, u in units.items():
                        pair = (u.sums(m[name]) for m in (maps, drawn))
                        rho = measures.rank_correlation(*pair, there[name])
                        self.found[method, name].setdefault(f"randomised: {stage}", []).append(rho)

    def _noise(self, units, shape):
        """Normal noise of one number a unit, the same in all of its numbers."""
        return self.rng.standard_normal((shape[0], units.count))[:, units.numbers]

    def _note_errors(self, method, maps, values, start):
        if start is None:
            return
        totals = np.stack([m.reshape(len(values), -1).sum(axis=1) for m in maps.values()], axis=1)
        difference = values - start
        scale = np.maximum(np.abs(difference), np.abs(totals).sum(axis=1))
        error = np.abs(totals.sum(axis=1) - difference)
        self.errors.setdefault(method, []).append(np.divide(error, scale, out=np.zeros_like(error), where=scale > 0))

    def _masks(self, rows, tensors, seen, raw, best):
        """Returns `{(row, input): text of the evidence}` of the rows that are predicted right."""
        if self.truths is None:
            return {}
        task = self.run.tasks[self.task]
        right = np.ones(len(rows), bool)
        if task.is_categorical and self.task in rows.labels:
            right = task.encode(rows.labels[self.task]) == best
        absent = [i for i in rows.ids if str(i) not in self.truths]
        if absent:
            raise DataError(f"{len(absent)} rows have no line in the truths: {[str(i) for i in absent[:5]]}")
        return {
            (row, name): text
            for row in np.flatnonzero(right)
            for name, text in self.truths[str(rows.ids[row])].items()
            if np.any(tensors[name][row])
        }

    def _pointed(self, name, maps, masks, tensors, raw):
        """Returns `{"pointing": (rows,), "mass": (rows,)}` of one input, NaN where it carries no evidence."""
        if self.truths is None:
            return {}
        found = {k: np.full(len(maps), np.nan) for k in ("pointing", "mass")}
        preprocessor = self.run.preprocessors[name]
        for row, own in masks:
            if own == name:
                fields = {f: raw[f][row] for f in preprocessor.raw_specs}
                values, panel = make_panel(preprocessor, tensors[name][row], maps[row], fields)
                truth = truth_mask(masks[row, own], values, panel)
                found["pointing"][row] = measures.pointing(values, truth)
                found["mass"][row] = measures.mass(values, truth)
        return found

    def result(self, methods, seed):
        if not self.n:
            raise DataError("no row can be decoded.")
        scores, curves = {m: {} for m in methods}, {m: {} for m in methods}
        for (method, name), noted in self.found.items():
            down, up = (np.concatenate(part) for part in zip(*self.curves[method, name], strict=True))
            numbers = {k: np.concatenate(v) for k, v in noted.items() if k != "curves"} | measures.areas(down, up)
            found = {k: _interval(numbers[k], seed) for k in MEASURES if k in numbers}
            scores[method][name] = {k: v for k, v in found.items() if v is not None}
            scale = np.abs(down[:, 0] - down[:, -1]).mean() if len(down) else 0.0
            means = {"deletion": down, "insertion": up}
            curves[method][name] = {
                k: ((v - down[:, -1:]).mean(axis=0) / scale).tolist() if scale > 0 else [] for k, v in means.items()
            }
        errors = {m: np.concatenate(e) for m, e in self.errors.items()}
        complete = {
            m: {"median": float(np.median(errors[m])), "largest": float(errors[m].max())} if m in errors else None
            for m in methods
        }
        return Quality(self.task, self.n, scores, complete, curves)


def _known(kind, word, words):
    if word not in words:
        raise DataError(f"unknown {kind} {word!r}.{nearest(word, words)} Known: {list(words)}")
    return word


def _interval(numbers, seed):
    """Returns the interval of a mean over the rows that have a number, or `None` when none has."""
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    found = with_intervals(lambda w: {"mean": w @ numbers / w.sum(axis=1)}, len(numbers), seed)["mean"]
    return {**found, "n": len(numbers)}
