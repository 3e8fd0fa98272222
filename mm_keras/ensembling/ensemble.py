"""`mm_keras.ensemble`: several networks of one recipe, and the best way to make one model of them."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import pandas as pd

from mm_keras.ensembling.choice import KINDS, choose, keep
from mm_keras.ensembling.joins import why_not_stacked
from mm_keras.ensembling.members import cut_members, train_members, with_judges
from mm_keras.errors import DataError
from mm_keras.evaluation.judge import Judge
from mm_keras.extension import check_loads, describe_extensions
from mm_keras.pages import Result, result_page
from mm_keras.recipe import load_recipe
from mm_keras.registry import nearest
from mm_keras.saving import records, working_in
from mm_keras.training.fit import check_data, check_folder, save_trained, without_lost
from mm_keras.training.learn import learn
from mm_keras.training.run import Run, load_run


@dataclass(frozen=True, repr=False)
class Ensemble(Result):
    """One model made of several, and how good each way to make it is.

    Intervals are 95 %, by the bootstrap over rows, or over groups. Those of `"member"` and `"soup"` flatter a little:
    they were chosen on the validation rows themselves. Test rows chose nothing.

    Args:
        run: The `Run`.
        kind: What the run is: `"member"`, the best single one; `"soup"`, one network with the mean weights of some;
            `"mean"`, all members, their probabilities averaged; `"stacking"`, all members and a second model.
        best: The kind that is best on the validation rows.
        drawn: Whether the validation rows were drawn from the training rows, since the data had none.
        rows: `{"validation": n, "test": n}` that were scored.
        measures: `{task: "accuracy" or "mae"}`.
        lines: DataFrame by kind: `models` in it, `parameters`, `bytes` of weights; on validation rows `score` (see
            `Judge`), `gain` over the best member and each task's measure, each also `_low` and `_high`; the same with
            `test_` in front where there are test rows.
        members: DataFrame by number: `rows` trained on, `epochs`, `best_epoch`, the score on its own `fold` and on
            `validation` rows, and whether it is in the `soup`.
        left_out: `{kind: why}`.
    """

    NOUN = "an ensemble"

    run: Run
    kind: str
    best: str
    drawn: bool
    rows: dict
    measures: dict
    lines: pd.DataFrame
    members: pd.DataFrame
    left_out: dict

    def table(self):
        """Returns a DataFrame to read: the best kind first."""
        order = self.lines.sort_values("score", ascending=False, kind="stable")
        shown = {"models": order["models"]}
        names = {"score": "score", "gain": "over the best member"}
        # Of one classification, the score is the accuracy.
        if list(self.measures.values()) != ["accuracy"]:
            names |= {f"{task} {measure}": f"{task} {measure}" for task, measure in self.measures.items()}
        names |= {"test_score": "score on test rows"} if self.rows["test"] else {}
        for column, title in names.items():
            form = "{:+.3f} [{:+.3f}, {:+.3f}]" if column == "gain" else "{:.3f} [{:.3f}, {:.3f}]"
            parts = (order[c] for c in (column, f"{column}_low", f"{column}_high"))
            shown[title] = [form.format(*numbers) for numbers in zip(*parts, strict=True)]
        shown["parameters"] = [f"{v:,.0f}" for v in order["parameters"]]
        shown["size"] = [f"{v / 1024:,.0f} kB" for v in order["bytes"]]
        return pd.DataFrame(shown, index=order.index)

    @property
    def sentences(self):
        """What the numbers say, a tuple of strings."""
        line, rows = self.lines.loc[self.best], f"{self.rows['validation']} validation rows"
        told = [f"{self.best} is best on {rows}: {line['score']:.3f}"]
        if self.best != "member":
            told[0] += f", {line['gain']:+.3f} [{line['gain_low']:+.3f}, {line['gain_high']:+.3f}] over the best member"
            told[0] += "" if line["gain_low"] > 0 else ", which may be chance"
        if self.kind != self.best:
            told.append(f"The run is {self.kind}, as asked for")
        if self.drawn:
            told.append("The validation rows were drawn from the training rows, since the data had none")
        told += [f"{kind} is left out: {why}" for kind, why in self.left_out.items()]
        return tuple(f"{sentence}." for sentence in told)

    def __repr__(self):
        text = "\n".join(self.sentences)
        return f"Ensemble({self.kind}, {len(self.members)} members)\n{self.table().to_string()}\n{text}"

    def _render(self, page):
        pictures = [("The score of every kind of ensemble with its interval, as in the table", self.plot())]
        tables = [("", self.table()), ("Members", self.members.round(3))]
        notes = ["95 % intervals over rows; member and soup were chosen on the validation rows themselves."]
        return result_page(page, "ensemble", sentences=self.sentences, pictures=pictures, tables=tables, notes=notes)

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.ensembling.plot import plot_ensemble

        return plot_ensemble(self)

    def to_json(self):
        """Returns every number and sentence as JSON."""
        content = {n: getattr(self, n) for n in ("kind", "best", "drawn", "rows", "measures", "left_out", "sentences")}
        for name in ("lines", "members"):
            content[name] = records(getattr(self, name))
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)

    def to_csv(self):
        """Returns a line a kind as CSV."""
        return self.lines.to_csv()


def ensemble(recipe, data, out, *, members=5, kind="best", verbose=True):
    """Trains several networks of a recipe and stores the best model that can be made of them, as an ordinary run.

    The training rows are cut in as many folds as there are members; classes stay in proportion and groups whole. Each
    member trains on all folds but one, which chooses its epoch. All have the same preprocessing, learned once on all
    training rows, and start from the same weights, or their mean would mean nothing. The validation rows, which none
    has seen, choose among the best single member; their soup, one network with the mean weights of some; the mean of
    all their probabilities, or values; and stacking, a second model that is fitted on the validation rows and judged by
    cross-fitting there. A tie goes to the smaller model. Data without validation rows give a tenth of their training
    rows.

    A soup is one network, which costs no more than a member. Networks that start from random weights mostly end too
    far apart to be averaged, and the soup is then the best member alone; it is meant for encoders that start from
    `weights`. Mean and stacking cost all members together.

    Args:
        recipe: A `Recipe` or the path of one.
        data: What `load` returned, or a manifest as `load` takes it.
        out: The run folder; made if absent, refused if it holds a run. Beside what `fit` writes, it gets
            `ensemble.json`, `.csv`, `.png` and `.html`; `members/` holds the logs.
        members: How many.
        kind: `"best"`, or the kind that the run shall be: `"member"`, `"soup"`, `"mean"` or `"stacking"`.
        verbose: Whether to print progress.

    Returns:
        An `Ensemble`; its `run` is evaluated, explained and exported as any other.

    Raises:
        DataError: On an unknown kind, too few members or rows, and where `fit` raises it.
        RecipeError: Where `fit` raises it.

    Reference:
        Krogh and Vedelsby 1995, Neural network ensembles, cross validation, and active learning (members that see
        different rows); Wortsman et al. 2022, arXiv:2203.05482 (soups); Wolpert 1992, Stacked generalization. Differs:
        see `greedy_soup` and `fit_stacking`.
    """
    if kind not in ("best", *KINDS):
        known = ["best", *KINDS]
        raise DataError(f"`kind` must be one of {known}.{nearest(kind, known)} Received: {kind!r}")
    recipe, out = load_recipe(recipe), Path(out)
    say = print if verbose else (lambda *_: None)
    check_folder(out)
    data = check_data(recipe, data)
    data, drawn = with_judges(data, recipe.training.seed)
    cut = cut_members(data, members, recipe.training.seed)
    if kind == "stacking" and (why := why_not_stacked(data.validation)):
        raise DataError(f"`kind` 'stacking' cannot be made: {why}.")
    say(repr(data))

    began = time.time()
    keras.utils.set_random_seed(recipe.training.seed)
    parts = learn(recipe, data)
    judge = Judge(recipe, parts[1], data.validation)
    with working_in(out):
        found = train_members(recipe, data, parts, cut, out, verbose, say)
        if describe_extensions(recipe):
            check_loads(found[0].trainer.model)
        choice = choose(recipe, data, judge, found)
        kept = choice.best if kind == "best" else kind
        trainer, told = keep(kept, choice, found)
        data = without_lost(recipe, data, out, say)
        history = pd.concat([m.history for m in found], ignore_index=True)
        told = {"kind": kept, "best": choice.best, "members": len(found), **told}
        calibration = trainer.calibrate(data.validation, say)
        save_trained(out, data, trainer, history, began, {"calibration": calibration, "ensemble": told})
        made = Ensemble(load_run(out), kept, choice.best, drawn, **choice.told)
        for suffix in Ensemble.SUFFIXES:
            made.save(out / f"ensemble{suffix}")
        return made
