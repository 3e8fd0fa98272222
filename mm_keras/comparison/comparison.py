"""`mm_keras.compare`: is fusion worth it?"""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.comparison.candidates import find_candidates
from mm_keras.comparison.folds import fold_data
from mm_keras.comparison.tally import tally
from mm_keras.comparison.verdict import difference
from mm_keras.comparison.work import run_cells
from mm_keras.data.manifest import as_data
from mm_keras.data.rows import Rows
from mm_keras.evaluation.evaluate import HEADLINES
from mm_keras.explanation.targets import find_task
from mm_keras.pages import Result, result_page
from mm_keras.recipe import load_recipe
from mm_keras.saving import records, working_in


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """Each input alone, the fusions, and ensembles, on the same rows.

    An interval is `{"value", "low", "high"}`, 95 %, by the bootstrap over rows, or over groups; it does not cover what
    another seed of the training would change.

    Args:
        task: The task looked at.
        measure: `"accuracy"`, or `"mae"` of a regression.
        n: Number of rows scored, each by models that did not see it.
        folds: How many; 0 for the splits of the data.
        lines: DataFrame by candidate: `role` (`"alone"`, `"fusion"`, `"ensemble"` or `"without"`), `inputs`, `value`,
            `low` and `high` of the measure, `gain`, `gain_low` and `gain_high` over the best single input, in the
            measure, more is better; `validation`, the measure there; `parameters`, `step_ms` of training; `latency_ms`
            and `bytes` of the LiteRT float32 file, one example and one thread; of an ensemble the sums.
        best: Name of the best fusion or ensemble, on validation rows.
        single: Name of the best single input, on validation rows; `None` without baselines.
        verdict: `"worth it"`, `"not worth it"`, `"not shown"` or `"worse"`; `None` without baselines.
        adds: `{input: interval}`: what it adds to all others.
        sentences: What the numbers say.
        warnings: Advice.
        refused: `{fusion: why it cannot hold these inputs}`.
    """

    NOUN = "a comparison"

    task: str
    measure: str
    n: int
    folds: int
    lines: pd.DataFrame
    best: str
    single: str | None
    verdict: str | None
    adds: dict
    sentences: tuple
    warnings: tuple
    refused: dict

    def table(self):
        """Returns a DataFrame to read: the best candidate first."""
        order = self.lines.sort_values("value", ascending=self.measure == "mae", kind="stable")
        gaps = [{"value": r.gain, "low": r.gain_low, "high": r.gain_high} for r in order.itertuples()]
        shown = {
            "inputs": order["inputs"],
            self.measure: [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in order.itertuples()],
            f"over {self.single}": ["" if np.isnan(g["value"]) else difference(g, self.measure) for g in gaps],
            "parameters": [f"{v:,.0f}" for v in order["parameters"]],
            "step": [f"{v:.1f} ms" for v in order["step_ms"]],
            "latency": [_or_none(v, "{:.2f} ms") for v in order["latency_ms"]],
            "size": [_or_none(v / 1024, "{:.0f} kB") for v in order["bytes"]],
        }
        table = pd.DataFrame(shown, index=order.index)
        return table if self.single else table.drop(columns=f"over {self.single}")

    def __repr__(self):
        text = "\n".join([*self.sentences, *(f"! {w}" for w in self.warnings)])
        return f"Comparison({self.task}, n={self.n}, folds={self.folds})\n{self.table().to_string()}\n{text}"

    def _render(self, page):
        where = f"{self.folds} folds" if self.folds else "the splits of the data"
        note = (
            f"{self.n} rows, {where}; 95 % intervals, paired, over rows. Step: of training. Latency and size: LiteRT "
            "float32, one example, one thread."
        )
        return result_page(
            page,
            f"{self.task}: is fusion worth it?",
            sentences=self.sentences,
            warnings=self.warnings,
            pictures=[(f"{self.measure} of every candidate with its interval, as in the table", self.plot())],
            tables=[("", self.table())],
            notes=[note, *(f"{kind} is left out: {why}" for kind, why in self.refused.items())],
        )

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.comparison.plot import plot_comparison

        return plot_comparison(self)

    def to_json(self):
        """Returns every number and sentence as JSON."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content["lines"] = records(self.lines)
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)

    def to_csv(self):
        """Returns the table, with every number, as CSV."""
        return self.lines.to_csv()


def compare(
    recipe,
    data,
    out,
    *,
    folds=5,
    fusions=None,
    baselines=True,
    task=None,
    exports=True,
    jobs=None,
    verbose=True,
):
    """Trains each input alone and all inputs by each fusion, by the same folds, seeds and budget, and says which won.

    Ensembles of the models of single inputs, their answers averaged or multiplied, stand beside the fusions. The best
    single input and the best fusion are chosen on validation rows and compared on test rows. Each training is kept in
    `out` as soon as it ends: a comparison that is stopped goes on where it was.

    Args:
        recipe: A `Recipe` or the path of one; its training settings are everyone's, its seed also that of the folds.
        data: What `load` returned, or a manifest as `load` takes it. Rows of a `group` stay in one fold.
        out: Folder for the trainings and the results, `comparison.json`, `.csv`, `.png` and `.html`.
        folds: How many; each row is then tested once. 0 keeps the splits of the data.
        fusions: Names of fusions, or `"all"`. Defaults to the recipe's own.
        baselines: Whether to train each input alone, and, of three or more, the first fusion without each.
        task: Which task is looked at, by name or number. Defaults to the recipe's first.
        exports: Whether the first fold's models are exported, to tell size and latency.
        jobs: Trainings side by side, in processes, which see no GPU. Defaults to one for two cores, on a GPU to one
            in this process.
        verbose: Whether to print a line after each training.

    Returns:
        A `Comparison`.

    Raises:
        RecipeError: On an unknown fusion, or when there is nothing to fuse.
        DataError: When there are too few rows, `out` holds another comparison, or is being worked in.

    Reference:
        Wang et al. 2020, arXiv:1905.12681, section 1 (the best single input may beat joint training); Du et al. 2023,
        arXiv:2305.01233 (ensembles of models trained apart as the measure of joint training).
    """
    recipe = load_recipe(recipe)
    name = find_task(task, recipe.tasks)
    candidates, refused = find_candidates(recipe, fusions, baselines)
    data = as_data(data, recipe)
    seed = recipe.training.seed
    parts = fold_data(data, folds, name, seed)
    say = print if verbose else (lambda text: None)
    for kind, why in refused.items():
        say(f"fusion {kind!r} is left out: {why}")
    with working_in(out):
        cells = run_cells(candidates, parts, Path(out), exports, jobs, say)
        measure = HEADLINES[recipe.tasks[name].kind][0]
        found = Comparison(
            name,
            measure,
            folds=folds,
            refused=refused,
            **tally(candidates, cells, _answers(data.rows, name), name, seed),
        )
        for suffix in Comparison.SUFFIXES:
            found.save(Path(out) / f"comparison{suffix}")
    return found


def _answers(rows, task):
    """Returns what the scores need of the rows, in memory: of rows that stream each is read once."""
    return Rows(np.asarray(rows.ids), {}, {task: rows.targets(task)}, groups=rows.groups)


def _or_none(value, form):
    return "" if np.isnan(value) else form.format(value)
