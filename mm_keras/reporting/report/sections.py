"""The parts of a report, each a function of what was found out about a run."""

from dataclasses import dataclass, field

import markupsafe
import numpy as np
import pandas as pd

from mm_keras.corrupting.robustness import robustness
from mm_keras.data.checking.availability import availability_tables
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import HEADLINES, predict_rows
from mm_keras.evaluation.reliability.reliability import reliability
from mm_keras.explanation.gallery import gallery
from mm_keras.exporting.bench import bench
from mm_keras.exporting.inspection import inspect, parity_lines
from mm_keras.pages import png
from mm_keras.reporting.report import figures


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Args:
        title: Its heading.
        text: A sentence under the heading.
        pictures: `(alternative text, PNG in base64)` of each.
        tables: `(caption, DataFrame)` of each; cells are shown as text.
        html: More, safe already.
        code: Text in columns.
    """

    title: str
    text: str = ""
    pictures: tuple = ()
    tables: tuple = ()
    html: str = ""
    code: str = ""
    key: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "key", self.title.lower().replace(" ", "-"))


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Args:
        run: A `Run`.
        rows: The `Rows` looked at.
        evaluation: The `Evaluation` on them.
        bundle: A version folder of the exported run, or `None`.
        options: `{"examples", "noise", "seed"}`.
    """

    run: object
    rows: object
    evaluation: object
    bundle: object
    options: dict


def _data(subject):
    run, info = subject.run, subject.run.info
    counts = info.get("rows", {})
    told = ", ".join(f"{n} rows of {split}" for split, n in counts.items())
    shares, combinations = availability_tables(subject.rows)
    tables = [("Share of the rows scored here that has each input", shares.map("{:.1%}".format))]
    tables += [("Rows by the inputs they have", combinations)]
    for name, task in run.tasks.items():
        if task.is_categorical and name in subject.rows.labels:
            labels = pd.Series(subject.rows.labels[name])
            found = labels[labels != ""].value_counts()
            table = pd.DataFrame({"rows": found, "share": (found / found.sum()).map("{:.1%}".format)})
            tables.append(
                (f"Classes of {name} in the {len(subject.rows)} rows scored here", table.rename_axis("class"))
            )
    left_out = info.get("quarantined", 0)
    more = f"; {left_out} bad rows were left out, see quarantine.csv" if left_out else ""
    return Section("Data", f"{info.get('manifest', 'a manifest')}: {told}{more}.", tables=tuple(tables))


def _training(subject):
    info, file = subject.run.info, subject.run.folder / "history.csv"
    seconds, parameters = info.get("seconds", 0), info.get("parameters", 0)
    text = (
        f"{info.get('epochs', '?')} epochs in {seconds:.0f} s, {parameters:,} parameters, seed {info.get('seed', '?')}."
    )
    if not file.is_file():
        return Section("Training", text)
    history = pd.read_csv(file)
    best = info.get("best_epoch") or 0
    picture = figures.plot_curves(history, best)
    return Section("Training", text, (("Loss and metrics of training and validation by epoch", png(picture)),))


def _scores(subject):
    lines = {}
    for task in subject.run.tasks:
        for metric, s in subject.evaluation.metrics[task].items():
            lines[f"{task} {metric}"] = {"value": f"{s['value']:.4g}", "95 % interval": _interval(s)}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("score")
    return Section("Scores", f"On {subject.evaluation.metrics['n']} rows.", tables=(("", table),))


def _mistakes(subject):
    run = subject.run
    every = tuple(run.recipe.inputs)
    outputs, at = predict_rows(run, subject.rows, [every])
    rows, pictures = subject.rows.take(at), []
    for name, task in run.tasks.items():
        targets = task.encode(rows.labels[name])
        known = task.weights(targets) > 0
        if not known.any():
            continue
        answers = outputs[every][name][known]
        if task.is_categorical:
            count = len(task.classes)
            pairs = targets[known].astype(int) * count + answers.argmax(axis=1)
            matrix = np.bincount(pairs, minlength=count**2).reshape(count, count)
            pictures.append(
                (_confusions(name, matrix, task.classes), png(figures.plot_confusion(matrix, task.classes)))
            )
        else:
            picture = figures.plot_values(targets[known].astype(float), answers[:, 0], name)
            pictures.append((f"{name}: predicted numbers over true ones", png(picture)))
    return Section("Mistakes", pictures=tuple(pictures))


def _confusions(name, matrix, classes):
    """Returns the most frequent confusions in words, for readers without the picture."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    said = [f"{classes[k // len(classes)]} taken for {classes[k % len(classes)]} {wrong.flat[k]} times" for k in order]
    said = [s for s, k in zip(said, order, strict=True) if wrong.flat[k]]
    return f"{name}: predicted over true classes; {'; '.join(said) or 'no mistakes'}"


def _subsets(subject):
    if len(subject.run.recipe.inputs) < 2:
        return None
    pictures = []
    for task, kind in subject.evaluation.kinds.items():
        metric = HEADLINES[kind][0]
        picture = figures.plot_subsets(subject.evaluation.subsets, task, metric)
        pictures.append((f"{task}: {metric} with every subset of the inputs, as in the table", png(picture)))
    text = "The same model, given only some of its inputs."
    return Section("Inputs missing", text, tuple(pictures), (("", subject.evaluation.table()),))


def _robustness(subject):
    if not subject.options["noise"]:
        return None
    found = robustness(subject.run, subject.rows, seed=subject.options["seed"], verbose=False)
    picture = png(found.plot())
    return Section(
        "Noisy inputs", "", (("The score as each input gets worse, as in the table", picture),), (("", found.table()),)
    )


def _calibration(subject):
    found = reliability(subject.run, subject.rows, seed=subject.options["seed"])
    pictures = ()
    if found.classes:
        pictures = (("Share of right answers by confidence, before and after calibration", png(found.plot())),)
    text = "Is it right as often as it says? Before and after its temperature."
    return Section("Calibration", text, pictures, (("", found.table()),))


def _examples(subject):
    count = subject.options["examples"]
    if not count:
        return None
    parts = []
    for which in ("best", "worst", "uncertain"):
        try:
            made = gallery(subject.run, subject.rows, which, count, seed=subject.options["seed"])
        except DataError:  # a regression is not uncertain
            continue
        parts.append(f"<h3>{which}</h3>{made._repr_html_()}")
    text = "What each input, and each part of it, contributed."
    return Section("Examples", text, html=markupsafe.Markup("".join(parts)))


def _export(subject):
    if subject.bundle is None:
        return Section(
            "Exports", "No exported version was given: `mm-keras report RUN --bundle FOLDER` shows its proof."
        )
    told = inspect(subject.bundle)
    timed = bench(subject.bundle, batches=(1,), seconds=0.5)
    columns = {"p50": "median, ms", "p99": "99 %, ms"}
    table = timed[["variant", "signature", "batch", *columns]].round(3).rename(columns=columns).set_index("variant")
    sizes = {kind: {"bytes": f"{entry['bytes']:,}"} for kind, entry in told["litert"].items()}
    tables = [("Latency on this machine", table)]
    if sizes:
        tables.append(("LiteRT files", pd.DataFrame.from_dict(sizes, orient="index").rename_axis("form")))
    text = f"{told['path']}: every comparison with the trained model passed: {told['parity']['passed']}."
    return Section("Exports", text, tables=tuple(tables), code=parity_lines(told["parity"]))


def _environment(subject):
    info = subject.run.info
    lines = {p: {"": v} for p, v in info.get("versions", {}).items()}
    lines |= {k: {"": str(info[k])} for k in ("python", "machine") if k in info}
    lines |= {"devices": {"": ", ".join(info.get("devices", []))}, "run": {"": str(subject.run.folder)}}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("what")
    return Section("Environment", tables=(("", table),), code=subject.run.recipe.to_yaml())


# In the order of the page.
SECTIONS = (
    _scores,
    _data,
    _training,
    _mistakes,
    _subsets,
    _robustness,
    _calibration,
    _examples,
    _export,
    _environment,
)


def _interval(s):
    return f"[{s['low']:.4g}, {s['high']:.4g}]"
