"""What a check found: plain sentences with the rows they are about, as a table, a page or JSON."""

import dataclasses
import json
from dataclasses import dataclass

import pandas as pd

from mm_keras.pages import Shown, result_page
from mm_keras.saving import save

SEVERITIES = ("warning", "note")
SHOWN = 3  # of a long list, in a sentence


@dataclass(frozen=True)
class Finding:
    """One thing that is, or may be, wrong with the data.

    Args:
        check: Which check found it, a word of `check_data`.
        severity: `"warning"`, which makes scores wrong or training worse, or `"note"`, which a person should look at.
        what: What was found, one sentence.
        advice: What to do, one sentence.
        ids: Ids of all rows that it is about; empty when it is about a column or a class.
        sets: Ids of the rows that belong together, such as copies of each other; empty when each stands for itself.
        inputs: The inputs or tasks of the recipe that it is about.
        columns: The manifest's columns.
        splits: The splits that the rows are of.
        files: Absolute paths of the files that it is about.
    """

    check: str
    severity: str
    what: str
    advice: str
    ids: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    inputs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def line(self):
        """All of it as one line."""
        return f"{self.what} {self.advice}"

    @property
    def where(self):
        """Columns, splits and the first rows, as one text."""
        rows = [" = ".join(s[:SHOWN]) for s in self.sets] or list(self.ids)
        parts = [", ".join(self.columns[:SHOWN]), ", ".join(self.splits)]
        parts += [f"rows {listed(rows)}"] if rows else []
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, repr=False)
class DataCheck(Shown):
    """What `inspect` says of a manifest.

    Args:
        name: The manifest's path.
        rows: `{split: count of good rows}`.
        findings: The `Finding`s, the warnings first.
        availability: DataFrame: which share of a split's rows has each input; a line a split.
        combinations: DataFrame: how many rows of each split have which inputs; a line a combination, the most frequent
            first.
        classes: `{task: DataFrame}`: how many rows of each split are of each class; a line a class.
    """

    name: str
    rows: dict
    findings: tuple[Finding, ...]
    availability: pd.DataFrame
    combinations: pd.DataFrame
    classes: dict

    @property
    def warnings(self):
        """The findings that are warnings."""
        return tuple(f for f in self.findings if f.severity == "warning")

    def table(self):
        """Returns a DataFrame, a line a finding: severity, check, what, where, advice."""
        columns = ["severity", "check", "what", "where", "advice"]
        return pd.DataFrame([[getattr(f, c) for c in columns] for f in self.findings], columns=columns)

    def __repr__(self):
        counts = ", ".join(f"{k}={v}" for k, v in self.rows.items())
        notes = len(self.findings) - len(self.warnings)
        lines = [f"{f.severity}: {f.line}" for f in self.findings]
        return "\n".join([f"DataCheck({counts}; {len(self.warnings)} warnings, {notes} notes)", *lines])

    def _render(self, page):
        counts = ", ".join(f"{v} {k}" for k, v in self.rows.items())
        told = {f: f"{f.check}: {f.line}" + (f" ({f.where})" if f.where else "") for f in self.findings}
        notes = [said for f, said in told.items() if f not in self.warnings]
        tables = [("Share of the rows that has each input", self.availability.round(3))]
        tables += [("Rows by the inputs they have", self.combinations)] if len(self.combinations) > 1 else []
        tables += [(f"Rows of each class of {task}", table) for task, table in self.classes.items()]
        return result_page(
            page,
            self.name,
            sentences=[f"{self.name}: {counts} rows", *(notes if told else ["Nothing was found."])],
            warnings=[told[f] for f in self.warnings],
            tables=tables,
        )

    def to_json(self):
        """Returns everything as JSON; of a finding all ids, sets and files."""
        content = {
            "name": self.name,
            "rows": self.rows,
            "findings": [dataclasses.asdict(f) for f in self.findings],
            "availability": self.availability.to_dict("index"),
            "combinations": self.combinations.reset_index().to_dict("records"),
            "classes": {task: table.to_dict("index") for task, table in self.classes.items()},
        }
        return json.dumps(content, ensure_ascii=False, indent=1)

    def save(self, path):
        """Writes the page, everything, or the table, as the suffix says: `.html`, `.json` or `.csv`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        forms = {".html": self.to_html, ".json": self.to_json, ".csv": lambda: self.table().to_csv(index=False)}
        return save(path, "a check of data", forms)


def listed(items, most=SHOWN):
    """Returns `"a, b, c .. (7 in all)"`."""
    items = [str(item) for item in items]
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} .. ({len(items)} in all)"


def counted(count, one, many=None):
    """Returns `"1 row"` or `"2 rows"`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
