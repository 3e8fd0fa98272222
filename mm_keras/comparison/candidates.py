"""What is compared: each input alone, all inputs by each fusion, all but one."""

from dataclasses import dataclass

from mm_keras.errors import RecipeError
from mm_keras.recipe import Recipe
from mm_keras.recipe.fusion import Fusion
from mm_keras.registry import FUSIONS, nearest

# Means over the answers of the models of single inputs, trained apart.
ENSEMBLES = ("ensemble_mean", "ensemble_product")


@dataclass(frozen=True)
class Candidate:
    """One model of a comparison.

    Args:
        name: What it is called: an input, a fusion, or `"gated without audio"`.
        role: `"alone"`, `"fusion"`, `"without"` or `"ensemble"`.
        inputs: Names of what it is given.
        recipe: Its `Recipe`; `None` of an ensemble.
    """

    name: str
    role: str
    inputs: tuple[str, ...]
    recipe: Recipe | None = None


def find_candidates(recipe, fusions, baselines):
    """Returns `(candidates, {fusion: why it cannot hold these inputs})`.

    Args:
        recipe: A `Recipe`.
        fusions: Names of fusions, `"all"`, or `None` for the recipe's own.
        baselines: Whether to train each input alone, with the ensembles of these, and, of three inputs or more, the
            first fusion without each input.

    Raises:
        RecipeError: On an unknown fusion, and when there is but one input.
    """
    names = tuple(recipe.inputs)
    if len(names) < 2:
        raise RecipeError(f"there is nothing to fuse: the recipe has one input, {names[0]!r}.")
    found, refused = [], {}
    for kind in _kinds(recipe, fusions):
        fusion = recipe.fusion if kind == recipe.fusion.kind else None
        try:
            fusion = fusion or Fusion(**recipe.fusion.model_dump() | {"kind": kind, "options": {}})
            found.append(Candidate(kind, "fusion", names, with_fusion(recipe, fusion)))
        except RecipeError as error:
            refused[kind] = str(error)
    if not found:
        raise RecipeError(f"no fusion is left to compare: {refused}")
    if baselines:
        singles = [Candidate(n, "alone", (n,), recipe.without(*(o for o in names if o != n))) for n in names]
        first = found[0]
        some = [] if len(names) == 2 else names
        less = [_without(first, n) for n in some]
        found = [*singles, *found, *(Candidate(n, "ensemble", names) for n in ENSEMBLES), *less]
    return found, refused


def with_fusion(recipe, fusion):
    """Returns the recipe with another `Fusion`."""
    return Recipe(**{field: getattr(recipe, field) for field in Recipe.model_fields} | {"fusion": fusion})


def _kinds(recipe, fusions):
    if fusions is None:
        return [recipe.fusion.kind]
    kinds = list(FUSIONS) if fusions == "all" else [fusions] if isinstance(fusions, str) else list(fusions)
    for kind in kinds:
        if kind not in FUSIONS:
            raise RecipeError(f"unknown fusion {kind!r}.{nearest(kind, FUSIONS)} Known: {list(FUSIONS)}, or 'all'")
    # The recipe's own comes first: it is what the inputs are left out of.
    return sorted(dict.fromkeys(kinds), key=lambda k: k != recipe.fusion.kind)


def _without(first, name):
    inputs = tuple(n for n in first.inputs if n != name)
    return Candidate(f"{first.name} without {name}", "without", inputs, first.recipe.without(name))
