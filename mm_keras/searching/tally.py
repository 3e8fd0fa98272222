"""The trials of a study as a table."""

import pandas as pd

from mm_keras.searching.changes import value_of
from mm_keras.searching.study import values_of

STATES = {"COMPLETE": "finished", "PRUNED": "behind", "FAIL": "failed"}
DIED = "the process ended in it, twice"


def trial_lines(trials, space, recipe):
    """Returns a DataFrame by trial: `state`, `score`, `epochs`, `seconds`, `reason`, and a column a field.

    Args:
        trials: Of Optuna, in order.
        space: As `read_space` returns it.
        recipe: The `Recipe` as given, which is the first trial.
    """
    lines = []
    for trial in trials:
        told, state = trial.user_attrs, STATES[trial.state.name]
        # One that was behind, or failed on its way, has the score of its last epoch.
        last = trial.intermediate_values.get(trial.last_step)
        line = {"trial": told["number"], "state": state, "score": trial.value if state == "finished" else last}
        line |= {"epochs": told.get("epochs"), "seconds": told.get("seconds")}
        line["reason"] = told.get("reason", DIED) if state == "failed" else ""
        if told["number"] == 0:
            values = {path: _value(recipe, path) for path in space}
        else:
            values = values_of(trial, space)
        lines.append(line | {path: values.get(path) for path in space})
    columns = ["trial", "state", "score", "epochs", "seconds", "reason", *space]
    table = pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(("score", "epochs", "seconds"), float))
    return table.set_index("trial")


def _value(recipe, path):
    try:
        value = value_of(recipe, path)
    except KeyError:  # an option that the recipe's kind does not have
        return None
    return value.get("kind", value) if isinstance(value, dict) else value
