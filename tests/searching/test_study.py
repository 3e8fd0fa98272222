"""The trials of a search over known functions of the recipe, in place of trainings."""

import math

import numpy as np
import pytest

import mm_keras as mm
from mm_keras.searching.changes import value_of
from mm_keras.searching.importance import field_importance
from mm_keras.searching.space import read_space
from mm_keras.searching.study import Work, best_of, open_study, run_trials, told, values_of
from mm_keras.searching.tally import DIED, trial_lines

RECIPE = mm.Recipe(
    inputs={"a": mm.Vector(), "b": mm.Vector()},
    tasks={"label": mm.Classification()},
    training=mm.Training(epochs=6, learning_rate=1e-4, seed=3),
)
RATE, KIND = "training.learning_rate", "fusion.kind"
SPACE = {RATE: "1e-5..1e-1 log", KIND: "gated,concat", "training.patience": "1..20"}


def height(recipe):
    """Best at a learning rate of 1e-2; concat is worth a little, patience nothing."""
    return 1.0 - (math.log10(recipe.training.learning_rate) + 2) ** 2 / 9 + 0.05 * (recipe.fusion.kind == "concat")


class Known:
    """A study of `height`: six epochs that rise to it, as a training would.

    `fault` is called with the number of a trial in its last epoch, and may raise.
    """

    def __init__(self, folder, fault=None):
        self.folder, self.fault, self.ran, self.lines = folder, fault, [], []
        space = read_space(RECIPE, SPACE)
        self.work = Work(RECIPE, space, self.train, self.answers, lambda logits: logits["label"][0], self.lines.append)

    def train(self, recipe, number, behind):
        self.ran.append(number)
        for epoch in range(6):
            if behind(height(recipe) * (epoch + 1) / 6, epoch):
                return None, epoch + 1
        if self.fault:
            self.fault(number)
        return {"label": np.array([height(recipe)])}, 6

    def answers(self, number):
        return self.folder / str(number) / "answers.npz"

    def run(self, count, prune=False, **options):
        """Returns the trials' table, the best number and the importance."""
        self.folder.mkdir(exist_ok=True)
        with open_study(self.folder / "study.db", 6, prune) as study:
            run_trials(study, self.work, count, **options)
            lines = trial_lines(told(study), self.work.space, RECIPE)
            best = best_of(study)
            for trial in told(study)[1:]:
                made = self.work.recipe_of(trial)
                assert values_of(trial, self.work.space) == {p: value_of(made, p) for p in SPACE}
            return lines, best and best.user_attrs["number"], field_importance(study, lines, self.work)


def test_a_known_maximum_is_found_and_what_it_depends_on(tmp_path):
    known = Known(tmp_path / "study")
    lines, best, importance = known.run(24)
    assert known.ran == list(lines.index) == list(range(24))
    assert lines.loc[0, [RATE, KIND]].tolist() == [1e-4, "gated"]
    assert lines.loc[0, "score"] == pytest.approx(height(RECIPE)) == pytest.approx(1 - 4 / 9)
    assert lines["score"].max() == lines["score"][best] > 1.0
    assert lines["score"][8:].mean() > lines["score"][:8].mean()
    assert next(iter(importance)) == RATE
    # 0.59 with this seed; the sampler draws few rates that are bad.
    assert importance[RATE] > 0.5
    assert sum(importance.values()) == pytest.approx(1.0)
    # Only the given and the best keep their answers.
    assert {p.parent.name for p in known.folder.glob("*/answers.npz")} == {"0", str(best)}


@pytest.mark.slow
def test_a_search_that_is_stopped_and_killed_goes_on_as_if_it_had_not(tmp_path):
    whole, best, _ = Known(tmp_path / "whole").run(11)

    def kill(number):
        if number in (0, 9):
            raise SystemExit  # nothing of ours catches it: the trial stays as a kill leaves it

    parts = Known(tmp_path / "parts")
    for fault, count in ((kill, 3), (None, 3), (None, 3), (kill, 11), (None, 11)):
        parts.fault = fault
        try:
            lines, found, _ = parts.run(count)
        except SystemExit:
            continue
    assert parts.ran == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10]
    assert found == best
    np.testing.assert_array_equal(lines.drop(columns="seconds").to_numpy(), whole.drop(columns="seconds").to_numpy())


def test_a_trial_that_ends_the_process_twice_has_failed(tmp_path):
    def kill(number):
        if number == 1:
            raise SystemExit

    known = Known(tmp_path / "study", kill)
    for _ in range(2):
        with pytest.raises(SystemExit):
            known.run(3)
    lines, best, _ = known.run(3)
    assert known.ran == [0, 1, 1, 2]
    assert lines["state"].tolist() == ["finished", "failed", "finished"]
    assert lines["reason"].tolist() == ["", DIED, ""]
    assert best in (0, 2)


def test_a_user_may_interrupt_as_often_as_he_likes(tmp_path):
    def interrupt(number):
        if number == 1:
            raise KeyboardInterrupt

    known = Known(tmp_path / "study", interrupt)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            known.run(2)
    known.fault = None
    lines, *_ = known.run(2)
    assert lines["state"].tolist() == ["finished", "finished"]


def test_failures_are_told_and_the_search_goes_on(tmp_path):
    def fail(number):
        if number in (0, 2):
            raise FloatingPointError("the loss is nan in epoch 6.\nmore lines")

    known = Known(tmp_path / "study", fail)
    lines, best, _ = known.run(4)
    assert lines["state"].tolist() == ["failed", "finished", "failed", "finished"]
    assert lines["reason"][2] == "FloatingPointError: the loss is nan in epoch 6"
    assert best in (1, 3)
    assert "[1/4] failed: FloatingPointError: the loss is nan in epoch 6" in known.lines


def test_bad_data_end_the_search_and_are_no_fault_of_the_trial(tmp_path):
    def fail(number):
        if number == 1:
            raise mm.DataError("too many bad rows")

    known = Known(tmp_path / "study", fail)
    with pytest.raises(mm.DataError, match="too many bad rows"):
        known.run(3)
    known.fault = None
    assert known.run(3)[0]["state"].tolist() == ["finished"] * 3


def test_trials_below_the_median_are_stopped(tmp_path):
    lines, best, _ = Known(tmp_path / "pruned").run(12, prune=True)
    behind = lines[lines["state"] == "behind"]
    assert len(behind) >= 2
    assert behind.index.min() >= 4  # four whole trials are what the others are measured by
    assert (behind["epochs"] == 3).all()  # two epochs of six are let pass
    assert lines["state"][best] == "finished"
    for number, line in behind.iterrows():
        others = lines[:number][lines["state"][:number] == "finished"]
        reached = others["score"] * 3 / 6
        # A curve that sinks is best in its first epoch.
        assert max(line["score"], line["score"] / 3) < reached.median()


def test_no_trial_starts_when_the_time_is_over(tmp_path):
    known = Known(tmp_path / "study")
    assert known.run(3, seconds=0)[0].empty
    assert len(known.run(2, seconds=600)[0]) == 2
