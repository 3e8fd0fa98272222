"""Several explanations on one page: rows of a data set, or two of them side by side."""

import json
from pathlib import Path

import markupsafe
import pandas as pd

from mm_keras.errors import DataError


class Gallery:
    """Explanations to look at together.

    Two examples, two targets or two models side by side are a gallery of two: `mm.Gallery([first, second])`.

    Args:
        explanations: `Explanation`s, of one run or of several.
        titles: A line above each. Defaults to none.
        heading: A line above all.
        columns: Cards side by side; on a narrow screen there is one.

    Raises:
        DataError: When there is no explanation, or not one title for each.
    """

    def __init__(self, explanations, titles=None, heading="", columns=2):
        self.explanations, self.heading, self.columns = list(explanations), heading, columns
        self.titles = [""] * len(self.explanations) if titles is None else [str(t) for t in titles]
        if not self.explanations:
            raise DataError("a gallery needs one explanation at least.")
        if len(self.titles) != len(self.explanations):
            raise DataError(f"expected a title for each of {len(self.explanations)}. Received: {len(self.titles)}")

    def __len__(self):
        return len(self.explanations)

    def __getitem__(self, number):
        return self.explanations[number]

    def __repr__(self):
        return f"Gallery({self.heading!r}, {len(self)} explanations)\n{self.table().to_string(index=False)}"

    def table(self):
        """Returns a DataFrame, one line an explanation: what it is of, what the model says, `<input>_score`."""
        lines = [
            {"title": t, "task": e.task, "target": e.target, "predicted": e.prediction[e.task], "value": e.value}
            | {f"{n}_score": s for n, s in e.scores.items()}
            for t, e in zip(self.titles, self.explanations, strict=True)
        ]
        return pd.DataFrame(lines)

    def to_html(self):
        """Returns a whole HTML page: one string, nothing loaded from elsewhere."""
        return self._render(page=True)

    def _repr_html_(self):
        return self._render(page=False)

    def _render(self, page):
        from mm_keras.explanation.card import HUES, render, template

        # Each card is escaped already.
        made = [markupsafe.Markup(render(e, page=False, style=False)) for e in self.explanations]
        cards = list(zip(self.titles, made, strict=True))
        columns = min(self.columns, len(self))
        return template("gallery").render(cards=cards, heading=self.heading, page=page, hues=HUES, columns=columns)

    def to_json(self):
        """Returns every number of every explanation as JSON: a list, each as `Explanation.to_json` with its title."""
        parts = [{"title": t, **json.loads(e.to_json())} for t, e in zip(self.titles, self.explanations, strict=True)]
        return json.dumps(parts, ensure_ascii=False, indent=1, allow_nan=False)

    def save(self, path):
        """Writes the page, the numbers or the table, as the suffix says: `.html`, `.json` or `.csv`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        path = Path(path)
        texts = {".html": self.to_html, ".json": self.to_json, ".csv": lambda: self.table().to_csv(index=False)}
        if path.suffix not in texts:
            raise DataError(f"a gallery is saved as .html, .json or .csv. Received: path={str(path)!r}")
        path.write_text(texts[path.suffix](), encoding="utf-8")
        return path
