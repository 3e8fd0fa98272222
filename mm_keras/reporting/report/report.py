"""`mm_keras.report`: everything about a run on one page, and its model card."""

from dataclasses import dataclass
from pathlib import Path

from mm_keras.evaluation.evaluate import HEADLINES, evaluate, rows_to_score
from mm_keras.exporting.card import model_card
from mm_keras.exporting.inspection import version_folder
from mm_keras.exporting.origin import provenance
from mm_keras.exporting.papers import PACKAGES
from mm_keras.exporting.schema import build_schema
from mm_keras.pages import template
from mm_keras.reporting.report.sections import SECTIONS, Subject
from mm_keras.training.run import load_run


@dataclass(frozen=True, repr=False)
class Report:
    """A page about a run.

    Args:
        folder: Where `report.html` and `model_card.md` were written, a `pathlib.Path`.
        headline: The scores that matter, as one line.
        sections: Titles of the page's parts.
    """

    folder: Path
    headline: str
    sections: tuple[str, ...]

    @property
    def page(self):
        """Path of the HTML page."""
        return self.folder / "report.html"

    @property
    def card(self):
        """Path of the model card."""
        return self.folder / "model_card.md"

    def __repr__(self):
        return f"Report({str(self.page)!r})\n{self.headline}\n{', '.join(self.sections)}"

    def _repr_html_(self):
        return self.page.read_text(encoding="utf-8")


def report(run, data=None, *, bundle=None, out=None, examples=3, noise=True, seed=0, verbose=True):
    """Writes `report.html`, one page that loads nothing from elsewhere, and `model_card.md`.

    The page shows the scores with intervals, the data, the curves of the training, the mistakes, every subset of the
    inputs, noisy inputs, calibration, examples with explanations, the exports and the environment.

    Args:
        run: A `Run` or its folder.
        data: Rows as `evaluate` takes them, with labels. Defaults to the run's own test rows.
        bundle: The run's export, a version folder or the base folder; its proof is told and its latency measured.
        out: Folder for both files. Defaults to the run's.
        examples: How many of the best, the worst and the most uncertain rows are explained; 0 for none.
        noise: Whether to measure `robustness`, which takes the longest.
        seed: Of intervals, noise and rows.
        verbose: Whether to print a line after each part.

    Returns:
        A `Report`.

    Raises:
        DataError: When there are no rows with labels.
        ExportError: When `bundle` holds no export.
    """
    run, say = load_run(run), print if verbose else (lambda text: None)
    folder = Path(out or run.folder)
    bundle = None if bundle is None else version_folder(bundle)
    rows, _ = rows_to_score(run, data)
    evaluation = evaluate(run, rows, out=folder, seed=seed)
    subject = Subject(run, rows, evaluation, bundle, {"examples": examples, "noise": noise, "seed": seed})
    sections = []
    for make in SECTIONS:
        if section := make(subject):
            sections.append(section)
            say(f"{section.title}: done")
    headline = _headline(evaluation)
    made = Report(folder, headline, tuple(s.title for s in sections))
    page = template("mm_keras.reporting.report", "report").render(
        title=run.folder.name, headline=headline, recipe=run.recipe, sections=sections
    )
    made.page.write_text(page, encoding="utf-8")
    card = model_card(run, run.folder.name, build_schema(run), None, provenance(run, PACKAGES), evaluation.metrics)
    made.card.write_text(card, encoding="utf-8")
    say(f"{made.page}")
    return made


def _headline(evaluation):
    said = []
    for task, kind in evaluation.kinds.items():
        s = evaluation.metrics[task][HEADLINES[kind][0]]
        said.append(f"{task}: {HEADLINES[kind][0]} {s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]")
    return "; ".join(said)
