"""What a search changes when nobody says."""

from mm_keras.errors import RecipeError
from mm_keras.searching.changes import changed

FUSIONS = ("concat", "gated", "low_rank", "self_attention", "decision_mean")
UNITS = (32, 64, 128)
AUXILIARY = (0.0, 0.3, 1.0)


def default_space(recipe):
    """Returns the fields that matter in most recipes, around what the recipe says; see `search`."""
    training, fusion = recipe.training, recipe.fusion
    rate, decay = training.learning_rate, training.weight_decay
    space = {
        "training.learning_rate": {"low": rate / 10, "high": rate * 10, "log": True},
        "training.weight_decay": {"low": min(1e-6, decay or 1e-6), "high": max(1e-1, decay), "log": True},
    }
    if len(recipe.inputs) < 2:
        dropouts = {f"inputs.{n}.encoder.dropout": spec.encoder.dropout for n, spec in recipe.inputs.items()}
        return space | {path: _shares(value) for path, value in dropouts.items()}
    # A schedule needs something to change.
    least = 0.0 if training.modality_dropout_schedule == "constant" else 0.05
    space["training.modality_dropout"] = _shares(training.modality_dropout, least)
    if training.balance.kind not in ("gradient_blending", "mmpareto"):  # they have heads of their own
        space["training.auxiliary"] = sorted({*AUXILIARY, training.auxiliary})
    kinds = [fusion.kind, *(k for k in FUSIONS if k != fusion.kind and _is_possible(recipe, {"fusion.kind": k}))]
    space |= {"fusion.kind": kinds} if len(kinds) > 1 else {}
    return space | {"fusion.units": sorted({*UNITS, fusion.units}), "fusion.dropout": _shares(fusion.dropout)}


def _shares(given, least=0.0):
    return {"low": min(least, given), "high": max(0.5, given)}


def _is_possible(recipe, values):
    try:
        changed(recipe, values)
    except RecipeError:
        return False
    return True
