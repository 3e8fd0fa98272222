"""What a search found."""

import json
from dataclasses import dataclass, fields

import pandas as pd

from mm_keras.pages import Result, result_page
from mm_keras.recipe import Recipe
from mm_keras.saving import records
from mm_keras.searching.changes import content_of


@dataclass(frozen=True, repr=False)
class Search(Result):
    """A recipe with other settings, trial by trial, and the best of them on the validation rows.

    Args:
        best: The best `Recipe`; the one given when none is better.
        number: Of the best trial; 0 is the recipe as given.
        trials: DataFrame by trial: `state` (`"finished"`, `"behind"` when it was stopped, `"failed"`), `score` (of one
            that did not finish, of its last epoch), `epochs`, `seconds`, `reason` of a failure, and a column a field.
        scores: `{"given" and "best": {what: {"value", "low", "high"}}}`, 95 %, by the bootstrap over rows, or over
            groups; `what` is `"score"`, `"gain"` over the recipe as given, or `"<task> accuracy"` or `"<task> mae"`.
            `"given"` is absent when that recipe failed.
        n: Number of validation rows.
        wanted: How many trials there were to be.
        space: `{dotted path: values, as text}`.
        importance: `{dotted path: share of the score's variance}`, by functional ANOVA over the finished trials; empty
            when these are fewer than eight.
        measures: `{task: "accuracy" or "mae"}`.
    """

    NOUN = "a search"

    best: Recipe
    number: int
    trials: pd.DataFrame
    scores: dict
    n: int
    wanted: int
    space: dict
    importance: dict
    measures: dict

    @property
    def sentences(self):
        """What the numbers say, a tuple of strings."""
        counts = self.trials["state"].value_counts()
        whole = int(counts["finished"])
        score, rows = self.scores["best"]["score"]["value"], f"{self.n} validation rows"
        if not self.number:
            others = len(self.trials) - 1
            beaten = f"None of {others} other trials beats" if others else "No other trial was run to beat"
            told = [f"{beaten} the recipe as given on {rows}: {score:.3f}"]
        else:
            told = [f"Trial {self.number} is best on {rows}: {score:.3f}"]
            if "given" in self.scores:
                gain = self.scores["best"]["gain"]
                told[0] += f", {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] over the recipe as given"
                told[0] += "" if gain["low"] > 0 else ", which may be chance"
            else:
                told.append(f"The recipe as given failed: {self.trials['reason'][0]}")
            told.append(
                f"The best of {whole} scores on the same rows flatters itself: fit best.yaml and evaluate it on test "
                "rows before you believe the number"
            )
        rest = [f"{counts[state]} {words}" for state, words in
                (("behind", "stopped early, being behind"), ("failed", "failed")) if counts.get(state)]  # fmt: skip
        told.append(f"{len(self.trials)} trials: {', '.join([f'{whole} finished', *rest])}")
        if len(self.trials) < self.wanted:
            told.append(f"{self.wanted - len(self.trials)} of {self.wanted} trials were not run; the same call goes on")
        return tuple(f"{sentence.rstrip('.')}." for sentence in told)

    @property
    def is_accuracy(self):
        """Whether the score is the accuracy of the one task."""
        return list(self.measures.values()) == ["accuracy"]

    def table(self):
        """Returns a DataFrame to read: the best trial first, those that failed last."""
        rank = self.trials["state"].map({"finished": 0, "behind": 1, "failed": 2})
        order = self.trials.assign(rank=rank).sort_values(["rank", "score"], ascending=[True, False], kind="stable")
        score = "accuracy" if self.is_accuracy else "score"
        shown = {"state": order["state"], score: _written(order["score"], "{:.3f}")}
        shown["epochs"] = _written(order["epochs"], "{:.0f}")
        shown |= {path: [_short(value) for value in order[path]] for path in self.space}
        if (order["state"] == "failed").any():
            shown["reason"] = order["reason"]
        return pd.DataFrame(shown, index=order.index)

    def __repr__(self):
        text = "\n".join(self.sentences)
        return f"Search({len(self.trials)} trials, best {self.number})\n{self.table().to_string()}\n{text}"

    def _render(self, page):
        note = "Trial 0 is the recipe as given. 95 % intervals over validation rows, which chose the best trial too."
        changes = self.changes()
        return result_page(
            page,
            "search",
            sentences=self.sentences,
            pictures=[("the score of every trial, as in the table, and which fields it depended on", self.plot())],
            tables=[("What the best recipe changes", changes)] * bool(len(changes)) + [("Trials", self.table())],
            notes=[note],
        )

    def changes(self):
        """Returns a DataFrame by field: what the recipe as given says, and the best one, where they differ."""
        given, best = ({p: _short(self.trials[p].loc[n]) for p in self.space} for n in (0, self.number))
        differing = [p for p in self.space if given[p] != best[p]]
        rows = {"given": [given[p] for p in differing], "best": [best[p] for p in differing]}
        return pd.DataFrame(rows, index=pd.Index(differing, name="field"))

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.searching.plot import plot_search

        return plot_search(self)

    def to_json(self):
        """Returns every number and sentence, and the best recipe, as JSON."""
        content = {f.name: getattr(self, f.name) for f in fields(self)} | {"sentences": self.sentences}
        content |= {"best": content_of(self.best), "trials": records(self.trials)}
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)

    def to_csv(self):
        """Returns a line a trial as CSV."""
        return self.trials.to_csv()


def _written(values, form):
    return ["" if value != value else form.format(value) for value in values]


def _short(value):
    if value is None or value != value:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
