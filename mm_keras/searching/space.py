"""Which fields of a recipe a search changes, and to what; checked before anything trains."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mm_keras.errors import RecipeError
from mm_keras.recipe import read_yaml
from mm_keras.recipe.part import describe
from mm_keras.registry import nearest
from mm_keras.searching.changes import changed, fields_of, value_of, why_fixed
from mm_keras.searching.defaults import default_space

# Combinations in which a value is tried that the recipe as it is refuses.
TRIED = 64
RANGE = re.compile(r"(\S+?)\s*\.\.\s*(\S+?)(\s+log)?")


class Range(BaseModel):
    """Numbers between two ends, both of them possible.

    Args:
        low, high: The ends; a field of whole numbers gets whole ones.
        log: Whether each factor is as likely as the next, rather than each step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: int | float
    high: int | float
    log: bool = False

    @property
    def ends(self):
        """What is checked against the recipe."""
        return self.low, self.high

    def with_ends(self, low, high):
        """Returns the range with what the recipe makes of its ends."""
        if type(low) not in (int, float):
            raise ValueError("a range needs a field of numbers; list the values in place of it.")
        if not low < high:
            raise ValueError(f"`low` must be below `high`. Received: low={low}, high={high}")
        if self.log and low <= 0:
            raise ValueError(f"`low` must be above 0 with `log`. Received: low={low}")
        return self.model_copy(update={"low": low, "high": high})

    def suggest(self, trial, path):
        """Returns the value of an Optuna trial."""
        ask = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return ask(path, self.low, self.high, log=self.log)

    def parameter(self, value):
        """Returns what Optuna holds for a value, or `None` when the range lacks it."""
        return value if type(value) in (int, float) and self.low <= value <= self.high else None

    def value(self, parameter):
        """Returns the value for what Optuna holds."""
        return parameter

    def draw(self, rng):
        """Returns a value at random."""
        return self.ends[rng.integers(2)]

    def __str__(self):
        return f"{self.low:g}..{self.high:g}{' log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Values one of which is taken, of any type that JSON has.

    Args:
        ends: The values.
    """

    ends: tuple[Any, ...]

    def with_ends(self, *values):
        """Returns the choices with what the recipe makes of them."""
        if len({json.dumps(v) for v in values}) < max(len(values), 2):
            raise ValueError(f"needs at least two distinct values. Received: {list(values)}")
        return Choices(values)

    def suggest(self, trial, path):
        """Returns the value of an Optuna trial."""
        # As JSON, since Optuna takes True and 1 for one, and no mappings.
        return self.value(trial.suggest_categorical(path, [json.dumps(v) for v in self.ends]))

    def parameter(self, value):
        """Returns what Optuna holds for a value, or `None` when it is no choice."""
        return json.dumps(value) if json.dumps(value) in map(json.dumps, self.ends) else None

    def value(self, parameter):
        """Returns the value for what Optuna holds."""
        return json.loads(parameter)

    def draw(self, rng):
        """Returns a value at random."""
        return self.ends[rng.integers(len(self.ends))]

    def __str__(self):
        return ", ".join(v if isinstance(v, str) else json.dumps(v) for v in self.ends)


def read_space(recipe, space):
    """Returns `{dotted path: Range or Choices}`, each value of which the recipe takes, alone or with others.

    Args:
        recipe: A `Recipe`.
        space: As `search` takes it.

    Raises:
        RecipeError: With the field, what was expected and the nearest right word.
    """
    if space is None:
        space = default_space(recipe)
    elif isinstance(space, str | Path):
        space = read_yaml(space, "space")
    for path in _mapping(space):
        _check_path(recipe, path, space)
    found = {path: _read(path, given) for path, given in space.items()}
    return {path: _fitted(recipe, path, found) for path in found}


def join_space(file, words):
    """Returns the space of a YAML file and of `"field=values"`, which win; `None` when there is neither.

    Raises:
        RecipeError: When a word has no `=`, a field stands in two words, or the file is no mapping.
    """
    if not words:
        return file
    own = {}
    for word in words:
        path, is_pair, values = word.partition("=")
        if not is_pair or path.strip() in own:
            what = "stands twice" if is_pair else "expected FIELD=VALUES"
            raise RecipeError(f"space: {what}. Received: {word!r}")
        own[path.strip()] = values
    return (_mapping(read_yaml(file, "space")) if file else {}) | own


def _mapping(space):
    if not isinstance(space, dict) or not space:
        raise RecipeError(f"space: expected a mapping of fields to values. Received: {space!r}")
    return space


def given_values(recipe, space):
    """Returns `{dotted path: value}` of what the recipe itself says, where that lies in the space."""
    found = {}
    for path, own in space.items():
        try:
            value = value_of(recipe, path)
        except KeyError:
            continue
        if isinstance(value, dict):  # a part, which a choice may name by its kind alone
            value = next((v for v in own.ends if changed(recipe, {path: v}) == recipe), None)
        if own.parameter(value) is not None:
            found[path] = value
    return found


def _check_path(recipe, path, space):
    known = fields_of(recipe)
    if path not in known:
        if why := why_fixed(str(path)):
            raise RecipeError(f"space: {path}: cannot be searched: {why}.")
        room = str(path).rpartition(".")[0]
        beside = [k for k in known if k.startswith(f"{room}.")] if room else []
        listed = f" Fields of {room}: {beside}." if beside else ""
        raise RecipeError(f"space: {path}: the recipe has no such field.{nearest(path, known)}{listed}")
    if inside := [other for other in space if str(other).startswith(f"{path}.")]:
        raise RecipeError(f"space: {inside[0]}: stands inside {path}, which is searched as a whole. Leave one out.")


def _read(path, given):
    """Returns a `Range` or `Choices` as a user writes it."""
    if isinstance(given, str):
        match = RANGE.fullmatch(given.strip())
        given = {"low": match[1], "high": match[2], "log": bool(match[3])} if match else _words(given)
    if isinstance(given, list | tuple):
        return Choices(tuple(given))
    if not isinstance(given, dict):
        raise RecipeError(
            f"space: {path}: expected a list of values, low and high, or text such as '1e-4..1e-2 log' or 'a, b'. "
            f"Received: {given!r}"
        )
    try:
        return Range.model_validate(given)
    except ValidationError as error:
        raise RecipeError(describe(error, Range, f"space: {path}")) from None


def _words(text):
    """Returns the values of `"a, 2, true"`."""
    return [_number(word.strip()) for word in text.split(",")]


def _number(word):
    for kind in (int, float):  # YAML takes 1e-4 for a word
        try:
            return kind(word)
        except ValueError:
            pass
    return yaml.safe_load(word)


def _fitted(recipe, path, found):
    """Returns a field's `Range` or `Choices` with its values as the recipe holds them."""
    try:
        return found[path].with_ends(*(_accepted(recipe, path, value, found) for value in found[path].ends))
    except ValueError as error:  # a RecipeError too, which mostly names the place by itself
        where = "space" if str(error).startswith(f"{path}:") else f"space: {path}"
        raise RecipeError(f"{where}: {error}") from None


def _accepted(recipe, path, value, found):
    """Returns a value as a recipe holds it, the given one or a combination of the search; raises when none takes it."""
    rng, refusal = np.random.default_rng(0), None
    for attempt in range(TRIED):
        others = {p: own.draw(rng) for p, own in found.items() if p != path} if attempt else {}
        try:
            held = value_of(changed(recipe, others | {path: value}), path)
        except RecipeError as error:
            refusal = refusal or error
        except KeyError:
            continue
        else:
            # A part given by its kind alone stays as short as it was written.
            return value if isinstance(held, dict) else held
        if len(found) == 1:
            break
    raise refusal or RecipeError("no kind that the search tries has this option.")
