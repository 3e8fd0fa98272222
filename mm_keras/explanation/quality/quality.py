"""`mm_keras.explain_quality`: are the explanations of a run right, and which method's are best?"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import rows_to_score
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.quality.bench import MEASURES, RANDOM, Bench
from mm_keras.explanation.quality.randomised import STAGES, randomised
from mm_keras.explanation.quality.truths import read_truths
from mm_keras.explanation.subjects import run_engine
from mm_keras.explanation.targets import find_task, known
from mm_keras.pages import Result, result_page
from mm_keras.training.run import load_run

# Those that ask the model a few times an example, of the methods that there are.
QUICK = tuple(m for m in ("integrated_gradients", "gradient_x_input", "gradient", "gradcam") if m in METHODS)
BLOCK_ROWS = 32  # explained at a time, which keeps memory flat


@dataclass(frozen=True, repr=False)
class Quality(Result):
    """How right the explanations of a run are.

    An interval is `{"value": mean, "low": l, "high": h, "n": rows}`, 95 %, by the bootstrap over the rows that have it.

    Args:
        task: The task explained; of a classification the predicted class.
        n: Number of rows.
        scores: `{method: {input: {measure: interval}}}`, with the method `"random"`, maps of normal noise.

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

    NOUN = "the quality of explanations"

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

    def _render(self, page):
        more = ", ".join(k for k, up in MEASURES.items() if up)
        said = f"{self.task}: how right the maps of {self.n} rows are"
        table = self.table().map(lambda v: "" if np.isnan(v) else f"{v:.3g}")
        pictures = [("The output as parts are taken away and put back, by method", self.plot())]
        notes = [f"More is better of {more}; less of the others."]
        return result_page(page, said, sentences=[said], pictures=pictures, tables=[("", table)], notes=notes)

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.explanation.quality.plot import plot_quality

        return plot_quality(self)

    def to_json(self):
        """Returns every number as JSON."""
        keys = ("task", "n", "scores", "completeness", "curves")
        return json.dumps({k: getattr(self, k) for k in keys}, ensure_ascii=False, indent=1, allow_nan=False)

    def to_csv(self):
        """Returns the table as CSV."""
        return self.table().to_csv()


def explain_quality(
    run, data=None, methods=None, rows=100, task=None, truths=None, *, baselines=None, randomise=False, steps=64, seed=0
):
    """Measures how right explanations are, each method beside a random map.

    What taking a part of an input away means is told in `mm_keras.explanation.quality.units`: its numbers are zero
    where the input enters the model, the blank value, while the input counts as present.

    Args:
        run: A `Run` or its folder.
        data: Rows as `evaluate` takes them. Defaults to the run's own test rows.
        methods: Names of `methods.METHODS`. `None` takes `QUICK`, those that ask the model a few times an example.
        rows: Most rows looked at, drawn at random.
        task: Which task, by name or number. Defaults to the recipe's first.
        truths: Where the evidence lies, as `quality.truths.read_truths` takes it: the path of a CSV or a DataFrame.
        baselines: As of `explain`; what is taken away becomes it.
        randomise: Whether to compare maps with those of models whose weights are drawn anew too.
        steps: Points on the way of integrated gradients.
        seed: Of the rows, the random maps and subsets, and the weights drawn anew.

    Returns:
        A `Quality`.

    Raises:
        DataError: On an unknown task or method, when there are no rows, or truths cannot be read.
    """
    run = load_run(run)
    task = find_task(task, run.tasks)
    methods = [methods] if isinstance(methods, str) else list(methods or QUICK)
    methods = [known("method", m, METHODS) for m in methods]
    truths = None if truths is None else read_truths(truths, list(run.recipe.inputs))
    data, _ = rows_to_score(run, data)
    rng = np.random.default_rng(seed)
    if len(data) > rows:
        data = data.take(np.sort(rng.choice(len(data), rows, replace=False)))
    engine, others = run_engine(run, baselines=baselines), {}
    if randomise:
        others = {stage: run_engine(run, randomised(run.model, stage, seed), None, baselines) for stage in STAGES}
    bench = Bench(run, task, engine, others, truths, steps, rng)
    for start in range(0, len(data), BLOCK_ROWS):
        bench.measure(data.take(np.arange(start, min(start + BLOCK_ROWS, len(data)))), methods)
    if not bench.n:
        raise DataError("no row can be decoded.")
    return Quality(task, bench.n, *bench.result([*methods, RANDOM], seed))
