"""The result: what each input, and each part of it, contributed. Holds numbers; drawing is elsewhere."""

import json
from dataclasses import dataclass, field

import numpy as np

from mm_keras.saving import save


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a model answered as it did for one example.

    All numbers are in one unit: logits of the explained class, or the column's own unit of a regression. Positive
    speaks for the class (raises the value), negative against. Maps of the methods in `methods.UNSIGNED` are no part of
    that: they tell how much a place matters, not which way, and have no unit.

    Args:
        task: The task explained.
        target: The class explained; `None` for a regression.
        method: Which method made the maps.
        prediction: `{column: value}`, the task's answer as `predict` gives it.
        value: The model's output for the example.
        base_value: Its output when every input is missing.
        scores: `{input: Shapley value}`; they sum to `value - base_value`. A missing input scores 0.
        score_errors: `{input: standard error}` of the scores; 0 where they are exact (up to 8 inputs).
        maps: `{input: signed array}`: picture `(height, width)`, views and video `(pictures, height, width)`, text
            `(tokens,)`, sound `(mels, frames)`, lowest band first, table `(columns,)`, vector `(features,)`, sequence
            `(steps, features)`, entity `(1 + neighbours,)`, itself first. Zero where the input is missing.
        start_value: The output that the maps are measured from, or `None` when the method keeps no such sum. Not
            `base_value`: along the way of integrated gradients the present inputs count as present.
        panels: `{input: Panel}`: what the model saw.
        methods: `{input: method}`: which one made each map, another than `method` where that does not apply.
        interactions: `{(a, b): what two inputs add together}` beyond what each adds alone, averaged over who else is
            present; names sorted. Positive: each makes the other worth more. Negative: they say the same.
        interaction_errors: `{(a, b): standard error}`; 0 where the scores are exact.
        is_logit: Whether the numbers are logits; else they are in the output's own unit.
        started: Names of the inputs whose maps are measured from a baseline that was given.
    """

    task: str
    target: str | None
    method: str
    prediction: dict
    value: float
    base_value: float
    scores: dict
    score_errors: dict
    maps: dict
    start_value: float | None
    panels: dict
    methods: dict = field(default_factory=dict)
    interactions: dict = field(default_factory=dict)
    interaction_errors: dict = field(default_factory=dict)
    is_logit: bool = True
    started: tuple = ()

    @property
    def shares(self):
        """`{input: |score| / sum of |scores|}`; all 0 when no input contributed."""
        total = sum(abs(s) for s in self.scores.values())
        return {n: abs(s) / total if total else 0.0 for n, s in self.scores.items()}

    @property
    def totals(self):
        """`{input: sum of its map}`."""
        return {n: float(m.sum()) for n, m in self.maps.items()}

    @property
    def names(self):
        """`{input: names of its map's parts}`: WordPieces, fields, features; none of pictures and sounds."""
        return {n: panel.names for n, panel in self.panels.items()}

    @property
    def error(self):
        """How far the maps are from adding up: `|sum - (value - start_value)|`, relative; `None` without a start.

        Relative to `|value - start_value|`, or to the sum of the inputs' `|totals|` where that is larger: where inputs
        cancel out the difference is near zero and says nothing of the size of what was added up.
        """
        if self.start_value is None:
            return None
        totals, difference = list(self.totals.values()), self.value - self.start_value
        scale = max(abs(difference), sum(abs(t) for t in totals))
        return abs(sum(totals) - difference) / scale if scale else 0.0

    @property
    def is_signed(self):
        """Whether the maps tell which way, not only how much."""
        from mm_keras.explanation.methods import UNSIGNED

        return self.method not in UNSIGNED

    @property
    def method_words(self):
        """The method as people read it, with the inputs whose map another one made, or that start at a baseline."""
        others = {}
        for name, other in self.methods.items():
            if other != self.method and not self.panels[name].missing:
                others.setdefault(other, []).append(name)
        said = [f"{', '.join(names)}: {other}" for other, names in others.items()]
        if started := [n for n in self.started if not self.panels[n].missing]:
            said.append(f"{', '.join(started)}: from a given baseline")
        return f"{self.method} ({'; '.join(said)})".replace("_", " ") if said else self.method.replace("_", " ")

    @property
    def strongest(self):
        """The pair of the largest interaction, if it is worth a quarter of the largest score, else `None`."""
        pair = max(self.interactions, key=lambda p: abs(self.interactions[p]), default=None)
        large = pair is not None and abs(self.interactions[pair]) >= max(map(abs, self.scores.values())) / 4 > 0
        return pair if large else None

    def __repr__(self):
        said = {n: "missing" if self.panels[n].missing else f"{s:+.3g}" for n, s in self.scores.items()}
        parts = ", ".join(f"{n}: {text}" for n, text in said.items())
        if (strongest := self.strongest) is not None:
            parts += f"; {' x '.join(strongest)}: {self.interactions[strongest]:+.3g}"
        named = self.task if self.target is None else f"{self.task}={self.target!r}"
        # Inputs whose names are in the words keep them as they are.
        method = f"method={self.method!r}" if self.method_words == self.method.replace("_", " ") else self.method_words
        return (
            f"Explanation({named}, {self.base_value:.3g} -> {self.value:.3g}; {parts}; "
            f"{method}{'' if self.error is None else f', error={self.error:.1e}'})"
        )

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.explanation.plot import plot_explanation

        return plot_explanation(self)

    def to_html(self):
        """Returns a whole HTML page: one string, nothing loaded from elsewhere."""
        from mm_keras.explanation.card import render

        return render(self, page=True)

    def _repr_html_(self):
        from mm_keras.explanation.card import render

        return render(self, page=False)

    def to_json(self):
        """Returns every number as JSON; maps are nested lists of six digits."""
        numbers = ("task", "target", "method", "value", "base_value", "start_value", "error", "scores", "score_errors")
        content = {k: getattr(self, k) for k in (*numbers, "shares", "prediction")}
        inputs = {
            n: {
                "kind": p.kind,
                "missing": p.missing,
                "method": self.methods.get(n, self.method),
                "started": n in self.started,
                "names": p.names,
                "map": _rounded(self.maps[n]),
            }
            for n, p in self.panels.items()
        }
        for key in ("interactions", "interaction_errors"):
            content[key] = nested(getattr(self, key))
        return json.dumps({**content, "inputs": inputs}, ensure_ascii=False, indent=1, allow_nan=False)

    def save(self, path):
        """Writes the page, the picture or the numbers, as the suffix says: `.html`, `.png` or `.json`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        forms = {".html": self.to_html, ".png": self.plot, ".json": self.to_json}
        return save(path, "an explanation", forms)


def _rounded(values):
    return np.vectorize(lambda v: float(f"{v:.6g}"), otypes=[float])(values).tolist()


def nested(pairs):
    """Returns `{a: {b: value}}` of `{(a, b): value}`."""
    return {a: {b: v for (first, b), v in pairs.items() if first == a} for a in dict.fromkeys(a for a, _ in pairs)}
