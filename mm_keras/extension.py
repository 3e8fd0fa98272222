"""A user's own encoders and fusions: plain Keras layers made ready, and what a run must remember to find them again.

An entry that a user adds to `registry.ENCODERS` or `registry.FUSIONS` is a path `"module:attribute"`, a builder or a
class as the house's own, or any Keras layer: a class, or a layer or model that stands for itself.
"""

import importlib
import inspect
import sys

import keras

from mm_keras.errors import DataError, RecipeError
from mm_keras.registry import ENCODERS, FUSIONS, resolve


def is_layer(entry):
    """Tells whether an entry is a Keras layer (or model), or the class of one."""
    kind = entry if isinstance(entry, type) else type(entry)
    return issubclass(kind, keras.layers.Layer)


def make_layer(entry, **arguments):
    """Returns a new layer of an entry, whose class Keras will find when a model is loaded.

    Args:
        entry: A layer, which is copied, so that two inputs or two models never share it; or a class of layers.
        arguments: For the class. A layer takes its `name` alone.

    Raises:
        RecipeError: When the arguments do not fit.
    """
    if not isinstance(entry, type):
        _register(type(entry))
        if options := {k: v for k, v in arguments.items() if k != "name"}:
            raise RecipeError(f"a layer that is registered as it is takes no options. Received: {options}")
        return type(entry).from_config({**entry.get_config(), **arguments})
    try:
        return _register(entry)(**arguments)
    except (TypeError, ValueError) as error:
        if entry.__module__.startswith("mm_keras."):  # its message stands for itself
            raise
        raise RecipeError(f"cannot make a {entry.__name__}: {error}") from None


def copy_weights(entry, layer):
    """Gives a built layer the weights of the layer that it is a copy of, if that has any."""
    if not isinstance(entry, type) and entry.weights:
        layer.set_weights(entry.get_weights())


def _register(kind):
    """Registers a class by its name; a later one of that name takes its place, as in a notebook run twice."""
    if not kind.__module__.startswith("keras.") and keras.saving.get_registered_name(kind) == kind.__name__:
        keras.saving.register_keras_serializable("extension")(kind)
    return kind


def describe_extensions(recipe):
    """Returns what a recipe uses of a user's: a list of `{"room", "keys", "entry", "layer", "file"}`, JSON.

    `entry` is the path to import, or `None` when there is none (a notebook's own class, a lambda); `layer` is the
    configuration of a layer that stands for itself.
    """
    return [
        {"room": room, "keys": keys, **_describe(entry)}
        for room, keys, entry in _used(recipe)
        if not (isinstance(entry, str) and entry.startswith("mm_keras."))
    ]


def _used(recipe):
    kinds = dict.fromkeys((spec.kind, spec.encoder_kind) for spec in recipe.inputs.values())
    for kind, name in kinds:
        yield "ENCODERS", [kind, name], ENCODERS[kind][name]
    yield "FUSIONS", [recipe.fusion.kind], FUSIONS[recipe.fusion.kind]


def _describe(entry):
    if isinstance(entry, str):
        return {"entry": entry, "layer": None, "file": _file(resolve(entry))}
    if is_layer(entry) and not isinstance(entry, type):
        own = None if type(entry).__module__.startswith("keras.") else _path(type(entry))
        return {"entry": own, "layer": keras.saving.serialize_keras_object(make_layer(entry)), "file": None}
    return {"entry": _path(entry), "layer": None, "file": _file(entry)}


def _path(thing):
    """Returns `"module:attribute"` where another process finds the same, or `None`."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not thing:
        return None
    return f"{module}:{name}"


def _file(thing):
    try:
        return inspect.getsourcefile(thing)
    except (TypeError, OSError):
        return None


def restore_extensions(described, where):
    """Puts back into the registry what a run was trained with and this process does not have yet.

    Args:
        described: What `describe_extensions` returned.
        where: The run, for messages.

    Raises:
        DataError: When an entry cannot be imported, with the line that helps.
    """
    for part in described:
        table = {"ENCODERS": ENCODERS, "FUSIONS": FUSIONS}[part["room"]]
        *modality, name = part["keys"]
        for key in modality:
            table = table[key]
        if name not in table:
            place = "".join(f'["{key}"]' for key in part["keys"])
            line = f"mm_keras.registry.{part['room']}{place} = .."
            table[name] = _found(part, table, name, f"{where}: was trained with {line}", line)
        entry = resolve(table[name])
        if is_layer(entry):
            _register(entry if isinstance(entry, type) else type(entry))


def _found(part, table, name, said, line):
    if part["entry"]:
        module, attribute = part["entry"].split(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            stood = f" (it stood in {part['file']})" if part["file"] else ""
            raise DataError(
                f"{said} {part['entry']}{stood}, which cannot be imported: {error}. Put its folder on PYTHONPATH, or "
                f"run that line before."
            ) from None
        if name in table:  # the module registers it itself
            return table[name]
        if not part["layer"]:
            return found
        _register(found)
    if part["layer"]:
        try:
            return keras.saving.deserialize_keras_object(part["layer"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{said} a layer that cannot be made: {first_line(error)}. Run `{line}` before.") from None
    raise DataError(
        f"{said} something that no other process can import: it was made in a notebook, a script or a function. Run "
        f"`{line}` before, or move it into a module."
    )


def check_loads(model):
    """Raises when Keras could not load a model again, before the time to train it is spent.

    Raises:
        RecipeError: With the reason.
    """
    try:
        type(model).from_config(model.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise RecipeError(f"the model could not be loaded again: {first_line(error)}") from None


def first_line(error):
    """Returns the first line of an error without its full stop; of a faulty configuration, not the configuration."""
    said = str(error).split("Exception encountered: ")[-1]
    return said.split("Full object config")[0].strip().split("\n")[0].rstrip(".")
