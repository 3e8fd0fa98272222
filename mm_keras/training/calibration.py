"""What is fitted to the answers of a finished model: temperatures, intervals of numbers, thresholds for abstaining."""

import math
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax
from scipy.stats import beta

from mm_keras.data.pipeline import make_dataset
from mm_keras.data.shards.sharded import named
from mm_keras.errors import DataError
from mm_keras.model import logits_model, temperature_of
from mm_keras.preprocessing.chain import compiled

LEVEL = 0.9
BINS = 15
# Fewer rows say nothing about how sure a model may be.
LEAST_ROWS = 10
COLDEST, HOTTEST = 0.01, 100.0
# Batches; tracing the network takes as long as some of them.
WORTH_COMPILING = 10
# Chance that a threshold promises too much, and how many are tried: answers to 100 %, 95 %.. of the rows.
RISK, COVERAGES = 0.05, 20


def fit_temperature(logits, labels, smoothing=1.0):
    """Finds the temperature of least loss on labelled rows: the mean of `-log softmax(logits / T)[label]`.

    The loss is convex in `1 / T`, so its slope has one root, which is bracketed.

    Args:
        logits: Float array `(rows, classes)`.
        labels: Int array `(rows,)`.
        smoothing: How many more rows are thought to lie beside these, whose label is any class with the same chance.
            Defaults to `1.0`.

    Returns:
        The temperature, a float in `[0.01, 100]`.

    Reference:
        Guo et al. 2017, arXiv:1706.04599, section 4.2. Differs: labels are smoothed by one row in all, as in Platt
        1999, section 2.2; else rows that are all right would make the temperature 0, and the model sure of everything.
    """
    logits = np.asarray(logits, np.float64)
    rows = len(logits)
    logits = logits - logits.max(axis=1, keepdims=True)
    said = (rows * logits[np.arange(rows), labels].mean() + smoothing * logits.mean()) / (rows + smoothing)

    def slope(inverse):
        return float((softmax(inverse * logits, axis=1) * logits).sum(axis=1).mean() - said)

    low, high = 1.0 / HOTTEST, 1.0 / COLDEST
    if slope(low) >= 0.0:
        return HOTTEST
    if slope(high) <= 0.0:
        return COLDEST
    return 1.0 / brentq(slope, low, high, xtol=1e-12)


def fit_half_width(errors, level=LEVEL):
    """Returns half the width of the interval that holds a new row's target with chance `level`, whatever the model.

    Args:
        errors: Float array `(rows,)`, target minus value, of rows that the model was not trained on.
        level: The chance, between 0 and 1.

    Returns:
        A float in the task's unit, or `None` when the rows are too few for any interval: fewer than
        `level / (1 - level)`.

    Reference:
        Vovk et al. 2005, Algorithmic Learning in a Random World, section 2.2; as Lei et al. 2018, arXiv:1604.04173,
        algorithm 2 (split conformal): the `ceil((rows + 1) level)`-th smallest absolute error.
    """
    errors = np.sort(np.abs(np.asarray(errors, np.float64)))
    # What is a whole number but for the rounding of `level` stays one.
    rank = math.ceil(round((len(errors) + 1) * level, 9))
    return float(errors[rank - 1]) if 0 < rank <= len(errors) else None


def fit_threshold(confidence, right, accuracy, risk=RISK):
    """Returns the lowest confidence from which on the model's answers have a wished accuracy.

    The accuracy holds on new rows with a chance of at least `1 - risk` over the rows that are given.

    Args:
        confidence: Float array `(rows,)`, the largest probability of each row.
        right: Bool array `(rows,)`.
        accuracy: The accuracy wished for, between 0 and 1.
        risk: Chance that it is missed.

    Returns:
        The threshold, just below one of `confidence`; `None` when none can promise it.

    Reference:
        Geifman and El-Yaniv 2017, arXiv:1705.08500, section 3 (the exact binomial bound of the error of the answers
        given). Differs: twenty coverages are tried, each with a twentieth of the risk; their binary search gives up
        when half of the rows are too few to show what all would.
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    ascending = np.sort(confidence)
    for turn in range(COVERAGES):
        lowest = ascending[turn * len(ascending) // COVERAGES]
        answered = right[confidence >= lowest]
        count, wrong = len(answered), int((~answered).sum())
        bound = beta.ppf(1.0 - risk / COVERAGES, wrong + 1, count - wrong) if wrong < count else 1.0
        if bound <= 1.0 - accuracy:
            # Below the row's own, which is rounded otherwise elsewhere.
            return float(max(lowest - 1e-6, 0.0))
    return None


def inner_edges(confidence, adaptive=False):
    """Returns the edges between bins of confidence: of equal width, or, `adaptive`, of equal numbers of rows."""
    shares = np.arange(1, BINS) / BINS
    return np.quantile(confidence, shares) if adaptive else shares


def calibration_error(confidence, right, inner, weights=None):
    """Returns how far confidence and accuracy are apart: the mean over bins, by rows, of their distance.

    Args:
        confidence: Float64 array `(rows,)`.
        right: Bool array `(rows,)`.
        inner: The edges between the bins, ascending; a bin holds its upper one.
        weights: Float array `(draws, rows)`, how often each row counts. `None` counts each once.

    Returns:
        Float array `(draws,)`.

    Reference:
        Guo et al. 2017, arXiv:1706.04599, section 2 (ECE, 15 bins); with bins of equal numbers of rows, Nguyen and
        O'Connor 2015, arXiv:1508.05154, section 3.
    """
    weights = np.ones((1, len(confidence))) if weights is None else weights
    number = np.searchsorted(inner, confidence, side="left")
    gaps = np.where(number[:, None] == np.arange(len(inner) + 1), (right - confidence)[:, None], 0.0)
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def answers_of(model, preprocessors, tasks, rows, batch_size=128):
    """Returns what a model says of labelled rows before it is calibrated.

    Args:
        model: As `build_model` returns it.
        preprocessors: `{input: preprocessor}`.
        tasks: `{task: task}`.
        rows: A `Rows`.
        batch_size: Rows at a time.

    Returns:
        `{task: (logits (rows, classes) or values (rows,), encoded targets (rows,))}`; rows without a label of a task,
        or with a file that has gone bad, are left out.
    """
    logits, said, numbers = logits_model(model, tasks).output, {t: [] for t in tasks}, [np.zeros(0, int)]
    wanted = {t: logits[t] if task.is_categorical else model.output[t] for t, task in tasks.items()}
    network = _compiled(keras.Model(model.input, wanted), len(rows) > WORTH_COMPILING * batch_size)
    for tensors, at in named(rows, make_dataset(preprocessors, rows, batch_size=batch_size)) if len(rows) else ():
        keep = at.numpy() >= 0
        numbers.append(at.numpy()[keep])
        for task, values in network(tensors).items():
            said[task].append(np.asarray(values)[keep])
    at, found = np.concatenate(numbers), {}
    for name, task in tasks.items():
        targets = task.encode(rows.labels[name])[at]
        known = task.weights(targets) > 0
        values = np.concatenate(said[name]) if said[name] else np.zeros((0, 1), np.float32)
        found[name] = ((values if task.is_categorical else values[:, 0])[known], targets[known])
    return found


def _compiled(network, worth):
    """Returns the function of a network's answers, compiled where it is worth the wait."""
    if not worth:
        return partial(network, training=False)
    if keras.backend.backend() != "tensorflow":
        return network.predict_on_batch
    specs = {x.name: tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in network.inputs}
    return compiled(lambda tensors: network(tensors, training=False), specs)


def fit_calibration(tasks, answers, level=LEVEL, accuracy=None):
    """Fits temperatures, intervals and thresholds; changes nothing.

    Args:
        tasks: `{task: task}`.
        answers: What `answers_of` returned, on rows that the model was not trained on.
        level: Chance with which an interval holds the target.
        accuracy: Accuracy wished for of the answers that are given, or `None`: every answer is given.

    Returns:
        `{task: report}`, as `run.json` holds it: `rows`; of a classification `temperature`, `before` and `after` (`ece`
        and `log_loss`), and `abstention`; of a regression `interval`. Too few rows leave the temperature 1, or give no
        interval.

    Raises:
        DataError: When no threshold can promise the accuracy wished for.
    """
    reports = {}
    for name, task in tasks.items():
        values, targets = answers[name]
        if task.is_categorical:
            own = _report_classes(name, values, targets, accuracy)
        else:
            half_width = fit_half_width(np.asarray(targets, np.float64) - values, level)
            own = {} if half_width is None else {"interval": {"level": level, "half_width": half_width}}
        reports[name] = {"rows": len(targets)} | own
    return reports


def put_calibration(model, tasks, reports):
    """Puts what was fitted into the model's `Temperature` layers, and into `state["interval"]` and `["abstention"]`."""
    for name, task in tasks.items():
        for key in ("interval", "abstention"):
            task.state.pop(key, None)
            if key in reports[name]:
                task.state[key] = reports[name][key]
        if task.is_categorical:
            temperature_of(model, name).temperature.assign(reports[name]["temperature"])


def _report_classes(name, logits, labels, accuracy):
    if len(labels) < LEAST_ROWS:
        if accuracy is not None:
            raise DataError(f"tasks.{name}: {len(labels)} labelled rows are too few to promise an accuracy.")
        return {"temperature": 1.0}
    temperature = float(np.float32(fit_temperature(logits, labels)))
    before, after = (_measured(logits / t, labels) for t in (1.0, temperature))
    report = {"temperature": temperature, "before": before, "after": after}
    if accuracy is not None:
        probabilities = softmax(logits / np.float32(temperature), axis=1)
        confidence = probabilities.max(axis=1)
        threshold = fit_threshold(confidence, probabilities.argmax(axis=1) == labels, accuracy)
        if threshold is None:
            raise DataError(
                f"tasks.{name}: no threshold promises an accuracy of {accuracy:g}, with {len(labels)} rows to show it. "
                "Wish for less, or give more rows."
            )
        share = float((confidence >= threshold).mean())
        report["abstention"] = {"accuracy": accuracy, "threshold": threshold, "coverage": share}
    return report


def _measured(logits, labels):
    logs = log_softmax(np.asarray(logits, np.float64), axis=1)
    confidence, right = np.exp(logs.max(axis=1)), logs.argmax(axis=1) == labels
    return {
        "ece": float(calibration_error(confidence, right, inner_edges(confidence))[0]),
        "log_loss": float(-logs[np.arange(len(labels)), labels].mean()),
    }


def describe(name, report):
    """Returns a line that says what was fitted for a task."""
    rows = f"{report['rows']} held-out rows"
    if "interval" in report:
        interval = report["interval"]
        return f"{name}: {interval['level']:.0%} interval +-{interval['half_width']:.4g}, from {rows}"
    if "temperature" not in report:
        return f"{name}: no interval, for {rows} are too few"
    if "after" not in report:
        return f"{name}: the temperature stays 1, for {rows} are too few; its probabilities are not calibrated"
    changes = [f"{k} {report['before'][k]:.3f} -> {report['after'][k]:.3f}" for k in ("ece", "log_loss")]
    line = f"{name}: temperature {report['temperature']:.3f} from {rows}; {', '.join(changes)}"
    if "abstention" in report:
        own = report["abstention"]
        line += f"; abstains below {own['threshold']:.3f}, answers {own['coverage']:.0%}"
    return line
