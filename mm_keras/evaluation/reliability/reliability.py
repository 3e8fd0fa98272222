"""`mm_keras.reliability` and `mm_keras.calibrate`: whether a model is right as often as it says, and making it so."""

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import softmax

from mm_keras.data.rows import Rows
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import rows_to_score
from mm_keras.evaluation.metrics import score_classification, score_regression
from mm_keras.pages import Result, result_page
from mm_keras.training.calibration import BINS, LEVEL, answers_of, fit_calibration, inner_edges, put_calibration
from mm_keras.training.run import load_run, save_calibration

SHOWN = ("ece", "adaptive_ece", "log_loss", "brier", "accuracy")
# Of the normal distribution: the 97.5 % quantile.
DEVIATIONS = 1.959964


@dataclass(frozen=True, repr=False)
class Reliability(Result):
    """How far a run's confidence can be trusted, on some rows.

    An interval is `{"value": v, "low": l, "high": h}`, 95 %, by the bootstrap over rows.

    Args:
        n: Number of rows.
        classes: `{classification: {"n": labelled rows, "temperature": of the run, "before": scores with a temperature
            of 1, "after": scores as the run is, "bins": {"before": bins, "after": bins}, "risk": {"coverage": list,
            "accuracy": list}, "aurc": area under the risk-coverage curve, "abstention": {"threshold", "wished",
            "coverage", "accuracy"} when a threshold was fitted}}`. Scores are `{metric: interval}` of `ece`,
            `adaptive_ece`, `log_loss`, `brier` and `accuracy`. A bin is `{"low", "high", "n", "confidence", "accuracy":
            {"value", "low", "high"}}`, its interval Wilson's; empty bins are left out.
        numbers: `{regression: {"n": labelled rows, "level": wished, "half_width": of its interval, "coverage":
            interval}}`; of those that have an interval.
        fitted: `{task: report}` of `calibrate`, as `run.json` holds it; empty when nothing was fitted.
    """

    NOUN = "reliability"

    n: int
    classes: dict
    numbers: dict
    fitted: dict = field(default_factory=dict)

    def table(self):
        """Returns a DataFrame: a line for each task before and after, the columns its scores."""
        lines = {}
        for task, own in self.classes.items():
            for when in ("before", "after"):
                temperature = 1.0 if when == "before" else own["temperature"]
                scores = {m: _written(own[when][m]) for m in SHOWN}
                lines[f"{task}, {when}"] = {"temperature": f"{temperature:.3f}", **scores}
        for task, own in self.numbers.items():
            lines[task] = {"half width": f"{own['half_width']:.4g}", "coverage": _written(own["coverage"])}
        return pd.DataFrame.from_dict(lines, orient="index").fillna("").rename_axis("task")

    def __repr__(self):
        return f"Reliability(n={self.n})\n{self.table().to_string()}"

    def _render(self, page):
        said = f"{self.n} rows: is it right as often as it says?"
        pictures = [("Share of right answers by confidence, before and after", self.plot())] if self.classes else []
        tables, notes = [("", self.table().T.rename_axis("score"))], ["95 % intervals by the bootstrap over rows."]
        return result_page(page, said, sentences=[said], pictures=pictures, tables=tables, notes=notes)

    def plot(self):
        """Returns a `matplotlib.figure.Figure`; for each classification the bins before and after, and abstention."""
        from mm_keras.evaluation.reliability.plot import plot_reliability

        return plot_reliability(self)

    def to_json(self):
        """Returns every number as JSON."""
        return json.dumps({k: getattr(self, k) for k in ("n", "classes", "numbers", "fitted")}, indent=1)

    def to_csv(self):
        """Returns the table as CSV."""
        return self.table().to_csv()


def reliability(run, rows=None, *, seed=0):
    """Measures whether a run is right as often as it says, with its temperatures and without.

    Args:
        run: A `Run` or its folder.
        rows: Rows as `evaluate` takes them. Defaults to the run's own test rows.
        seed: Of the bootstrap.

    Returns:
        A `Reliability`.

    Raises:
        DataError: When there are no rows, or a task has no labelled one.
    """
    run = load_run(run)
    rows, _ = rows_to_score(run, rows)
    return _measure(run, answers_of(run.model, run.preprocessors, run.tasks, rows), len(rows), seed)


def calibrate(run, rows=None, *, level=LEVEL, accuracy=None, seed=0):
    """Fits a run's temperatures and intervals anew, and stores them in the run.

    A temperature divides the logits of a classification (Guo et al. 2017); it changes how sure the run is, never which
    class it names. The interval of a regression is as wide for all rows (split conformal prediction); over all rows, it
    holds the target with the chance `level`, whatever the model, but not so for each kind of row. A threshold of
    confidence (selective classification) keeps the answers that are given right as often as wished. All three become
    part of what `predict`, `evaluate`, `explain` and `export` use. `model.keras`, what the tasks learned, and
    `run.json` are replaced, each in one step; a `Run` that is given is changed too.

    Args:
        run: A `Run` or its folder.
        rows: A `Rows`, or the path of a manifest (its validation rows if it has a `split` column, else all), which the
            run was not trained on. Defaults to the run's own validation rows. They chose the best epoch, and fitted a
            `decision_stacking`, so they flatter a little: of a stacking give other rows.
        level: Chance with which an interval holds the target.
        accuracy: Accuracy wished for of the answers that are given, with a chance of 95 % over the rows; rows that are
            less sure get `<task>_abstained` in `predict`. Defaults to `None`: every answer is given.
        seed: Of the bootstrap.

    Returns:
        A `Reliability` on these rows.

    Raises:
        DataError: When a number is out of its range, the rows are too few, or no threshold can promise the accuracy;
            nothing is changed then.

    Reference:
        See `fit_temperature`, `fit_half_width` and `fit_threshold` in `mm_keras.training.calibration`.
    """
    for name, value in (("level", level), ("accuracy", accuracy)):
        if value is not None and not 0.0 < value < 1.0:
            raise DataError(f"`{name}` must lie between 0 and 1. Received: {value}")
    run = load_run(run)
    rows = _rows_to_fit(run, rows)
    answers = answers_of(run.model, run.preprocessors, run.tasks, rows)
    reports = fit_calibration(run.tasks, answers, level, accuracy)
    for name, report in reports.items():
        if "after" not in report and "interval" not in report:
            raise DataError(f"tasks.{name}: {report['rows']} labelled rows are too few to calibrate on.")
    put_calibration(run.model, run.tasks, reports)
    save_calibration(run, reports)
    return _measure(run, answers, len(rows), seed, reports)


def _rows_to_fit(run, rows):
    if rows is None:
        rows = run.rows("validation")
    elif not isinstance(rows, Rows | ShardedRows):
        data = run.load(rows, split=None)
        rows = data.validation if len(data.validation) else data.rows
    if not len(rows):
        raise DataError("no rows to calibrate on. Give a manifest, or train with a validation split.")
    return rows


def _measure(run, answers, rows, seed, fitted=None):
    classes, numbers = {}, {}
    for name, task in run.tasks.items():
        values, targets = answers[name]
        if not len(targets):
            raise DataError(f"tasks.{name}: no row has a label.")
        if task.is_categorical:
            temperature = float(run.model.get_layer(f"{name}_temperature").temperature)
            classes[name] = _measure_classes(values, targets, temperature, task.state.get("abstention"), seed)
        elif interval := task.state.get("interval"):
            scores = score_regression(targets, values, seed, interval["half_width"])
            numbers[name] = {"n": len(targets), **interval, "coverage": scores["coverage"]}
    return Reliability(rows, classes, numbers, fitted or {})


def _measure_classes(logits, labels, temperature, abstention, seed):
    found = {"n": len(labels), "temperature": temperature, "bins": {}}
    for when, divisor in (("before", 1.0), ("after", temperature)):
        probabilities = softmax(np.asarray(logits, np.float64) / divisor, axis=1)
        scores = score_classification(labels, probabilities, seed)
        found[when] = {m: scores[m] for m in SHOWN}
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        found["bins"][when] = reliability_bins(confidence, right)
    found["risk"], found["aurc"] = risk_coverage(confidence, right)
    if abstention:
        answered = confidence >= abstention["threshold"]
        found["abstention"] = {
            "threshold": abstention["threshold"],
            "wished": abstention["accuracy"],
            "coverage": float(answered.mean()),
            "accuracy": float(right[answered].mean()) if answered.any() else None,
        }
    return found


def reliability_bins(confidence, right):
    """Returns the bins of equal width that hold rows; see `Reliability`.

    Args:
        confidence: Float64 array `(rows,)`.
        right: Bool array `(rows,)`.
    """
    inner, found = inner_edges(confidence), []
    number = np.searchsorted(inner, confidence, side="left")
    for i in np.unique(number):
        at = number == i
        low, high = wilson(int(right[at].sum()), int(at.sum()))
        share = {"value": float(right[at].mean()), "low": low, "high": high}
        own = {"low": float(i / BINS), "high": float((i + 1) / BINS), "n": int(at.sum())}
        found.append(own | {"confidence": float(confidence[at].mean()), "accuracy": share})
    return found


def wilson(hits, rows):
    """Returns the ends of Wilson's 95 % interval of a share.

    Reference:
        Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    share, squared = hits / rows, DEVIATIONS**2 / rows
    middle = (share + squared / 2) / (1 + squared)
    reach = np.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    return float(max(middle - reach, 0.0)), float(min(middle + reach, 1.0))


def risk_coverage(confidence, right):
    """Returns the accuracy of the surest rows, by how many of them are answered, and the area under its risk.

    Args:
        confidence: Float array `(rows,)`.
        right: Bool array `(rows,)`.

    Returns:
        `({"coverage": shares of rows, "accuracy": of these rows}, the mean of 1 - accuracy over all coverages)`, at
        most 200 points. Rows of one confidence are answered together.

    Reference:
        Geifman et al. 2019, arXiv:1805.08206, section 2 (AURC).
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, hits = confidence[order], np.cumsum(right[order])
    rows = np.arange(1, len(order) + 1)
    # Where the confidence falls next, or the rows end: no threshold lies between rows of one confidence.
    last = np.flatnonzero(np.append(confidence[1:] < confidence[:-1], True))
    accuracy = (hits / rows)[last]
    area = float(((1 - accuracy) * np.diff(rows[last], prepend=0)).sum() / len(rows))
    shown = np.unique(np.linspace(0, len(last) - 1, min(len(last), 200)).round().astype(int))
    curve = {"coverage": rows[last][shown] / len(rows), "accuracy": accuracy[shown]}
    return {k: v.tolist() for k, v in curve.items()}, area


def _written(interval):
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
