"""What `mm_keras.robustness` returns."""

import json
from dataclasses import asdict, dataclass

import pandas as pd

from mm_keras.corrupting.answers import CLEAN, GONE
from mm_keras.corrupting.curves import STEPS
from mm_keras.pages import Result, result_page


@dataclass(frozen=True, repr=False)
class Robustness(Result):
    """Scores of a model while one input gets worse, the others as they are.

    An interval is `{"value", "low", "high"}`, 95 %, by the bootstrap over rows; differences are of the same rows.

    Args:
        task: The task looked at.
        measure: `"accuracy"`, or `"mae"` of a regression.
        n: Number of rows.
        left_out: Rows whose files can no longer be read.
        baseline: What `effective` is measured against: `None`, the model without the input, or the folder of another
            run.
        clean: Interval of the measure on the rows as they are.
        missing: `{input: interval of the measure without it}`, as in the subsets of `evaluate`, with `change`, as
            below, and `given`, in how many of the rows the input is there.
        curves: `{input: {corruption: curve}}`. A curve is a dict of

            - `unit`, `severities` and `points`, five of both. A point is an interval of the measure, with `change`,
              the gain over clean rows, and `over_missing`, the gain over the same rows without the input, both more is
              better;
            - `relative`: the mean height of the curve from clean to the worst, beside clean; 1 is nothing lost. Of an
              error clean beside the mean;
            - `effective`: against the model without the input the mean of `over_missing`: below 0 the model would do
              better without; against another run how much less is lost than by that, the mean over the points;
              `None` for an input that the other run lacks;
            - `error`: the mean error over the points (1 less accuracy, or the mae), beside another run's if it is
              given;
            - `harms_from`: the first severity from which on to the worst the input does harm: the interval of
              `over_missing` is below 0. `None` when there is none.
        error: Interval of the mean of the curves' errors; `None` without any.
    """

    NOUN = "robustness"

    task: str
    measure: str
    n: int
    left_out: int
    baseline: str | None
    clean: dict
    missing: dict
    curves: dict
    error: dict | None

    @property
    def lines(self):
        """DataFrame, a line a point: input, corruption, step, severity, unit, value and gains with their intervals."""
        lines = [{"input": "", "corruption": CLEAN, "step": 0, **self.clean}]
        for name, gone in self.missing.items():
            for corruption, curve in self.curves[name].items():
                for step, (severity, point) in enumerate(zip(curve["severities"], curve["points"], strict=True), 1):
                    place = {"input": name, "corruption": corruption, "step": step}
                    lines.append(place | {"severity": severity, "unit": curve["unit"]} | _flat(point))
            lines.append({"input": name, "corruption": GONE} | _flat(gone))
        return pd.DataFrame(lines)

    def table(self):
        """Returns a DataFrame to read: a line a curve."""
        lines = {}
        for name, gone in self.missing.items():
            for corruption, curve in self.curves[name].items():
                line = {"severity": f"{curve['written'][0]} to {curve['written'][-1]} {curve['unit']}"}
                line |= {str(step): f"{point['value']:.3f}" for step, point in enumerate(curve["points"], 1)}
                line |= {GONE: f"{gone['value']:.3f}", "relative": _written(curve["relative"])}
                lines[name, corruption] = line | {"effective": _written(curve["effective"])}
            if not self.curves[name]:
                lines[name, ""] = {GONE: f"{gone['value']:.3f}"}
        columns = ["severity", *(str(s) for s in range(1, STEPS + 1)), GONE, "relative", "effective"]
        index = pd.MultiIndex.from_tuples(lines, names=["input", "corruption"])
        return pd.DataFrame(list(lines.values()), index=index, columns=columns).fillna("")

    @property
    def sentences(self):
        """What the numbers say, a tuple of texts."""
        found = [f"{self.measure} on {self.n} rows as they are: {_written(self.clean)}."]
        every = [(n, c, curve) for n, own in self.curves.items() for c, curve in own.items()]
        last = [(n, c, curve, curve["points"][-1]["change"]) for n, c, curve in every]
        if last:
            name, corruption, curve, change = min(last, key=lambda entry: entry[3]["value"])
            if change["high"] < 0:
                what = f"{corruption} of {name}, {curve['written'][-1]} {curve['unit']}"
                found.append(f"Most is lost by {what}: {self._difference(change)}.")
            else:
                found.append("None of the corruptions at their worst is shown to cost anything.")
        for name, corruption, curve in every:
            if curve["harms_from"] is not None:
                severity = curve["written"][curve["severities"].index(curve["harms_from"])]
                found.append(f"From {severity} {curve['unit']} on, {corruption} of {name} is worse than no {name}.")
        return tuple(found)

    def _difference(self, gain):
        scale, form, unit = (100, "{:+.1f}", " points") if self.measure == "accuracy" else (-1, "{:+.3g}", " mae")
        value, *ends = (scale * gain[k] for k in ("value", "low", "high"))
        low, high = sorted(ends)
        return f"{form.format(value)}{unit} [{form.format(low)}, {form.format(high)}]"

    def __repr__(self):
        text = "\n".join(self.sentences)
        return f"Robustness({self.task}, n={self.n})\n{self.table().to_string()}\n{text}"

    def _render(self, page):
        pictures = [(f"{self.measure} of each input as it gets worse, as in the table", self.plot())]
        title, tables = f"{self.task}: worse inputs", [("", self.table())]
        return result_page(page, title, sentences=self.sentences, pictures=pictures, tables=tables)

    def plot(self):
        """Returns a `matplotlib.figure.Figure`: a panel an input, a line a corruption."""
        from mm_keras.corrupting.plot import plot_robustness

        return plot_robustness(self)

    def to_json(self):
        """Returns every number and sentence as JSON."""
        content = asdict(self) | {"sentences": self.sentences}
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)

    def to_csv(self):
        """Returns a line a point as CSV."""
        return self.lines.to_csv(index=False)


def _written(interval):
    if interval is None or interval["value"] is None:
        return ""
    if interval["low"] is None or interval["high"] is None:
        return f"{interval['value']:.3f}"
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**interval)


def _flat(point):
    """Returns a point's intervals as columns of a table."""
    columns = {k: point[k] for k in ("value", "low", "high")}
    for what in ("change", "over_missing"):
        if what in point:
            columns |= {what: point[what]["value"]} | {f"{what}_{end}": point[what][end] for end in ("low", "high")}
    return columns
