"""Which way to make one model of the members is best, and that model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mm_keras.ensembling.joins import JOINS, cross_fitted, fit_stacking, mean_of, stacked, why_not_stacked
from mm_keras.ensembling.members import Voice, stratum
from mm_keras.ensembling.soup import greedy_soup
from mm_keras.errors import DataError
from mm_keras.evaluation.judge import Judge
from mm_keras.model import join_models

# Of equal ones the first wins: the cheaper to run.
KINDS = ("member", "soup", *JOINS)


@dataclass(frozen=True)
class Choice:
    """What the validation rows say.

    Args:
        best: The best of `KINDS`.
        single: Number of the best member among the members.
        taken: Numbers of those in the soup.
        soup: Its weights.
        stacking: `{task: layer}`, fitted on all validation rows; `None` when it is left out.
        held_out: `{task: logits}` of its labelled validation rows by second models that were not fitted on them.
        told: The fields of an `Ensemble` that follow from this.
    """

    best: str
    single: int
    taken: list
    soup: list
    stacking: dict | None
    held_out: dict
    told: dict


def choose(recipe, data, judge, members):
    """Makes every kind of ensemble and scores it; the members' weights stay as they are.

    Args:
        recipe: A `Recipe`.
        data: A `Data` with validation rows.
        judge: The `Judge` of these.
        members: `Member`s.

    Returns:
        A `Choice`.
    """
    tasks, seed = members[0].trainer.tasks, recipe.training.seed
    judges, rows = {"validation": judge}, {"validation": data.validation}
    if (other := _judge_of(recipe, tasks, data.test)) is not None:
        judges["test"], rows["test"] = other, data.test
    voices = [Voice(m.trainer) for m in members]
    said = {s: {f"member_{m.number}": v.logits(own) for m, v in zip(members, voices, strict=True)}
            for s, own in rows.items()}  # fmt: skip
    scores = [judge.score(own) for own in said["validation"].values()]
    single = int(np.argmax(scores))
    logits = {s: {"member": list(by_member.values())[single]} for s, by_member in said.items()}

    weights = [m.trainer.model.get_weights() for m in members]

    def asked(own, split):
        members[single].trainer.model.set_weights(own)
        return voices[single].logits(rows[split])

    taken, soup, _ = greedy_soup(weights, scores, lambda own: judge.score(asked(own, "validation")))
    for split in rows:
        logits[split] |= {"soup": asked(soup, split), "mean": mean_of(said[split], tasks)}
    members[single].trainer.model.set_weights(weights[single])

    stacking, held_out, why = None, {}, why_not_stacked(data.validation)
    if why is None:
        strata = stratum(data.validation, data.classes), data.validation.groups
        stacking = fit_stacking(said["validation"], judge, tasks)
        crossed = cross_fitted(said["validation"], judge, tasks, *strata, seed)
        logits["validation"]["stacking"] = crossed
        held_out = {t: crossed[t][judge.weights[t] > 0] for t in judge.tasks}
        if "test" in rows:
            logits["test"]["stacking"] = stacked(said["test"], stacking)
    told = {
        "rows": {s: len(rows.get(s, ())) for s in ("validation", "test")},
        "measures": judge.measures,
        "lines": _lines(judges, logits, members, stacking, seed),
        "members": _members(recipe, members, voices, scores, taken),
        "left_out": {} if why is None else {"stacking": why},
    }
    best = max(logits["validation"], key=lambda kind: judge.score(logits["validation"][kind]))
    return Choice(best, single, taken, soup, stacking, held_out, told)


def keep(kind, choice, members):
    """Returns `(trainer whose model is of that kind, what run.json says of it)`."""
    trainer = members[choice.single].trainer
    if kind in ("member", "soup"):
        numbers = [choice.single] if kind == "member" else choice.taken
        if kind == "soup":
            trainer.model.set_weights(choice.soup)
        return trainer, {"ingredients": [members[i].number for i in numbers]}
    trainer.best_epoch = None  # there are several
    models = [m.trainer.model for m in members]
    trainer.model = join_models(trainer.recipe, models, trainer.tasks, JOINS[kind])
    if kind == "stacking":
        trainer.held_out = choice.held_out
        for task, layer in choice.stacking.items():
            trainer.model.get_layer(f"{task}_logits").set_weights(layer.get_weights())
    return trainer, {"join": JOINS[kind], "nested": len(models)}


def _judge_of(recipe, tasks, rows):
    """Returns the `Judge` of rows, `None` where no row has a label."""
    try:
        return Judge(recipe, tasks, rows)
    except DataError:
        return None


def _lines(judges, logits, members, stacking, seed):
    """Returns a line for each kind; see `Ensemble`."""
    model = members[0].trainer.model
    parameters, size = model.count_params(), sum(w.nbytes for w in model.get_weights())
    more = sum(layer.count_params() for layer in (stacking or {}).values())
    outer = sum(task.is_categorical for task in members[0].trainer.tasks.values())  # a temperature each
    lines = {}
    for kind in logits["validation"]:
        count = len(members) if kind in JOINS else 1
        extra = (outer if kind in JOINS else 0) + (more if kind == "stacking" else 0)
        lines[kind] = {"models": count, "parameters": count * parameters + extra, "bytes": count * size + 4 * extra}
    for split, judge in judges.items():
        before = "" if split == "validation" else f"{split}_"
        for (kind, what), interval in judge.intervals(logits[split], "member", seed).items():
            name = f"{before}{what}"
            lines[kind] |= {name: interval["value"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("kind")


def _members(recipe, members, voices, scores, taken):
    """Returns a line for each member; see `Ensemble`."""
    lines = {}
    for place, (member, voice) in enumerate(zip(members, voices, strict=True)):
        judge = _judge_of(recipe, member.trainer.tasks, member.held)
        lines[member.number] = {
            "rows": member.trained,
            "epochs": len(member.history),
            "best_epoch": member.trainer.best_epoch + 1,
            "fold": np.nan if judge is None else judge.score(voice.logits(member.held)),
            "validation": scores[place],
            "soup": place in taken,
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("member")
