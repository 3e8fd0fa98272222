"""A recipe with some of its fields changed."""

import json

from mm_keras.recipe import load_recipe
from mm_keras.registry import BALANCE_OPTIONS, ENCODER_OPTIONS, FUSION_OPTIONS, TASK_BALANCE_OPTIONS

OPTIONS = ".options."
# Fields that say what is read from the manifest, which all trials share.
READ = {"column", "columns", "prefix", "numeric", "categorical", "steps", "views", "frames", "triples", "features"}
READ |= {"text", "classes", "kind"}


def content_of(recipe):
    """Returns a recipe as the nested dict of its YAML form, defaults included."""
    return json.loads(recipe.model_dump_json())


def fields_of(recipe):
    """Returns the dotted paths of all fields that a search may change, options of kinds that it does not name too."""
    found = list(_leaves(content_of(recipe)))
    for name, spec in recipe.inputs.items():
        own = [known for (modality, _), known in ENCODER_OPTIONS.items() if modality == spec.kind]
        found += [f"inputs.{name}.encoder{OPTIONS}{option}" for known in own for option in known]
    rooms = {"fusion": FUSION_OPTIONS, "training.balance": BALANCE_OPTIONS}
    for room, kinds in (rooms | {"training.task_balance": TASK_BALANCE_OPTIONS}).items():
        found += [f"{room}{OPTIONS}{option}" for known in kinds.values() for option in known]
    return [path for path in dict.fromkeys(found) if why_fixed(path) is None]


def why_fixed(path):
    """Returns why a search cannot change a field, or `None`."""
    steps = path.split(".")
    if steps[-1] == "seed":
        return "a seed is luck and no setting"
    # Of an input or a task itself; an encoder's kind is free.
    if len(steps) == 3 and steps[0] in ("inputs", "tasks") and steps[2] in READ:
        return "it says what is read from the manifest, which all trials share"
    return None


def changed(recipe, values):
    """Returns the recipe with other values in some fields.

    A kind that changes loses the options of the old one. An option that the kind does not have is left out.

    Args:
        recipe: A `Recipe`.
        values: `{dotted path: value}`.

    Raises:
        RecipeError: When there is no such recipe.
    """
    content, before = content_of(recipe), content_of(recipe)
    plain = {path: v for path, v in values.items() if OPTIONS not in path}
    for path, value in plain.items():
        room, _, last = path.rpartition(".")
        _at(content, room)[last] = value
    encoders = (f"inputs.{n}.encoder" for n in recipe.inputs)
    for room in ("fusion", "training.balance", "training.task_balance", *encoders):
        if room not in plain and _at(content, room)["kind"] != _at(before, room)["kind"]:
            _at(content, room)["options"] = {}
    options = {path: v for path, v in values.items() if OPTIONS in path}
    made = load_recipe(content)
    if not options:
        return made
    for path, value in options.items():
        room, _, name = path.partition(OPTIONS)
        known = known_options(made, room)
        if known is None or name in known:
            _at(content, room)["options"][name] = value
    return load_recipe(content)


def known_options(recipe, room):
    """Returns `{option: default}` of the kind that a part of a recipe has; `None` of one that a user registered."""
    if room.startswith("inputs."):
        spec = recipe.inputs[room.split(".")[1]]
        return ENCODER_OPTIONS.get((spec.kind, spec.encoder_kind))
    if room == "fusion":
        return FUSION_OPTIONS.get(recipe.fusion.kind)
    if room == "training.balance":
        return BALANCE_OPTIONS.get(recipe.training.balance.kind)
    return TASK_BALANCE_OPTIONS.get(recipe.training.task_balance.kind)


def value_of(recipe, path):
    """Returns what stands in a field, the default of an option; raises `KeyError` where there is none."""
    room, is_option, name = path.partition(OPTIONS)
    content = content_of(recipe)
    if path.endswith(".encoder.kind"):  # its default has a name too
        return recipe.inputs[path.split(".")[1]].encoder_kind
    if not is_option:
        return _at(content, path)
    default = (known_options(recipe, room) or {}).get(name)
    given = _at(content, room)["options"]
    if name not in given and default is None:
        raise KeyError(path)
    return given.get(name, default[0] if isinstance(default, tuple) else default)


def _at(content, path):
    for step in path.split(".") if path else ():
        content = content[step]
    return content


def _leaves(content, before=""):
    for key, value in content.items():
        path = f"{before}{key}"
        # A part with options may be given by its kind alone.
        if not isinstance(value, dict) or "options" in value:
            yield path
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
