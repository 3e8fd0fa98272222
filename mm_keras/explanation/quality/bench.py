"""What is measured of maps, block after block of rows."""

import itertools

import numpy as np

from mm_keras.errors import DataError
from mm_keras.evaluation.metrics import with_intervals
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.panels import make_panel
from mm_keras.explanation.quality import measures
from mm_keras.explanation.quality.randomised import STAGES
from mm_keras.explanation.quality.truths import truth_mask
from mm_keras.explanation.quality.units import Units, values_without
from mm_keras.preprocessing.raw import raw_batch

RANDOM = "random"
# One random map of a row points at a short text's evidence or not, and few rows carry any: several tell what chance is.
RANDOM_MAPS = 16
# In the order of the table; `True` where more is better.
MEASURES = {
    "gap": True, "deletion": False, "insertion": True, "sensitivity": True, "pointing": True, "mass": True,
    **{f"randomised: {stage}": False for stage in STAGES},
}  # fmt: skip


class Bench:
    """Measures block after block of rows, and keeps a few numbers of each row.

    Args:
        run: A `Run`.
        task: Name of the task looked at.
        engine: The run's `Engine`.
        others: `{stage: Engine}` of the model with weights drawn anew.
        truths: What `read_truths` returned, or `None`.
        steps: Points on the way of integrated gradients.
        rng: A `numpy.random.Generator`.
    """

    def __init__(self, run, task, engine, others, truths, steps, rng):
        self.run, self.task, self.engine, self.others = run, task, engine, others
        self.truths, self.steps, self.rng = truths, steps, rng
        self.found, self.errors, self.curves, self.n = {}, {}, {}, 0

    def measure(self, rows, methods):
        """Adds a block of rows; those that cannot be decoded are left out."""
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
        blank = self.engine.blank(seen.entries)
        there = {n: u.filled(seen.entries[n] - blank[n], seen.held.get(n)) for n, u in units.items()}
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
                more = range(1, RANDOM_MAPS if method == RANDOM else 1)
                noise = (self._noise(units[name], maps[name].shape) for _ in more)
                several = itertools.chain([maps[name]], noise)
                for measure, numbers in self._pointed(name, several, masks, tensors, raw).items():
                    note(measure, numbers)
            if method != RANDOM:
                for stage, other in self.others.items():
                    anew, _ = METHODS[method](other, tensors, column, self.steps)
                    for name, u in units.items():
                        pair = (u.sums(m[name]) for m in (maps, anew))
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

    def _pointed(self, name, several, masks, tensors, raw):
        """Returns `{"pointing": (rows,), "mass": (rows,)}` of one input, NaN where it carries no evidence.

        The means over `several` maps of the same rows, an iterable.
        """
        if self.truths is None:
            return {}
        preprocessor, carrying = self.run.preprocessors[name], [row for row, own in masks if own == name]
        fields = {row: {f: raw[f][row] for f in preprocessor.raw_specs} for row in carrying}
        pointed, found = [], {k: np.full(len(tensors[name]), np.nan) for k in ("pointing", "mass")}
        for maps in several:
            panels = [make_panel(preprocessor, tensors[name][row], maps[row], fields[row]) for row in carrying]
            truths = [truth_mask(masks[row, name], *panel) for row, panel in zip(carrying, panels, strict=True)]
            scored = [(values, truth) for (values, _), truth in zip(panels, truths, strict=True)]
            pointed.append([(measures.pointing(*pair), measures.mass(*pair)) for pair in scored])
        for measure, column in zip(found, np.mean(pointed, axis=0).T, strict=True) if carrying else ():
            found[measure][carrying] = column
        return found

    def result(self, methods, seed):
        """Returns `(scores, completeness, curves)` of a `Quality`."""
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
        return scores, complete, curves


def _interval(numbers, seed):
    """Returns the interval of a mean over the rows that have a number, or `None` when none has."""
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    found = with_intervals(lambda w: {"mean": w @ numbers / w.sum(axis=1)}, len(numbers), seed)["mean"]
    return {**found, "n": len(numbers)}
