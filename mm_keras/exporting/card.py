"""The model card: what the model is for, what it takes, how good it is and how that was proven, in Markdown."""

import json
from pathlib import Path

import jinja2

from mm_keras.exporting.checks import format_table

_METRICS = {"accuracy", "mae", "rmse", "f1", "macro_f1", "r2", "ece", "coverage"}


def model_card(run, name, schema, summary, origin, metrics=None):
    """Returns the card as Markdown.

    Args:
        run: A `Run`; its scores are told when it was evaluated (`metrics.json`).
        name: Name of the served model.
        schema: What `build_schema` returned.
        summary: DataFrame of the proof; `None` of a run that was not exported.
        origin: What `provenance` returned.
        metrics: `Evaluation.metrics`. Defaults to those of the run's `metrics.json`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    return environment.get_template("model_card.md.jinja").render(
        name=name,
        recipe=run.recipe,
        schema=schema,
        scores=_scores(run, metrics),
        parity="" if summary is None else format_table(summary),
        origin=origin,
        parameters=run.model.count_params(),
        calibration=run.info.get("calibration", {}),
        uncalibrated=_uncalibrated(run),
    )


def _uncalibrated(run):
    """Returns the classifications without a fitted temperature."""
    reports = run.info.get("calibration", {})
    return [t for t, task in run.tasks.items() if task.is_categorical and "after" not in reports.get(t, {})]


def _scores(run, metrics):
    """Returns `{task: {metric: {"value", "low", "high"}}}`; empty for a run that was not evaluated."""
    file = Path(run.folder) / "metrics.json"
    if metrics is None and not file.is_file():
        return {}
    metrics = metrics or json.loads(file.read_text(encoding="utf-8"))
    found = {t: {m: s for m, s in metrics[t].items() if m in _METRICS} for t in run.tasks if t in metrics}
    return {"rows": metrics["n"], "tasks": found}
