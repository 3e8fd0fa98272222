"""`load` of a shards folder."""

import shutil
import tempfile
import weakref

from mm_keras.data.shards.dataset import Shards, open_shards
from mm_keras.data.shards.places import LocalPlace
from mm_keras.data.shards.records import describe_fields
from mm_keras.data.shards.sharded import ShardedData, ShardedRows
from mm_keras.errors import DataError

# Addresses whose files TensorFlow opens itself.
NATIVE = ("gs://", "file://")


def load_shards(source, recipe, *, with_labels=True, lengths=None, graphs=None):
    """Opens a shards folder for a recipe; checks the shards' sizes, not yet their checksums.

    A folder at an address that TensorFlow does not open is copied to a temporary folder of this process first, and its
    checksums are verified.

    Args:
        source: The path or address.
        recipe: A `Recipe`, whose inputs and tasks are among those that the shards were prepared for.
        with_labels: Whether labels are read.
        lengths: As in `load`.
        graphs: As in `load`.

    Returns:
        A `ShardedData`.

    Raises:
        DataError: When the shards lack an input or task, hold it in another form, or are not whole.
    """
    shards = open_shards(source)
    if not shards.place.is_local and not str(shards.place).startswith(NATIVE):
        shards = _copied(shards)
    info, name = shards.info, str(shards.place)
    if fault := shards.sizes_fault():
        raise DataError(f"{fault} Prepare it again.")
    _check_form(name, info, recipe, with_labels, lengths or {})
    tasks = recipe.tasks if with_labels else {}
    classes = {t: tuple(s.classes or info["classes"][t]) for t, s in tasks.items() if s.kind == "classification"}
    for task, names in classes.items():
        if unknown := sorted(set(info["classes"][task]) - set(names)):
            raise DataError(f"{name}: tasks.{task}: the shards hold labels outside the recipe's classes: {unknown[:5]}")
    return ShardedData(
        name=name,
        rows=ShardedRows(shards, recipe, has_labels=with_labels),
        quarantine=shards.quarantine(),
        classes=classes,
        vectors={n: c for n, c in info["vectors"].items() if n in recipe.inputs},
        graphs={n: (graphs or {}).get(n, g) for n, g in info["graphs"].items() if n in recipe.inputs},
    )


def _check_form(name, info, recipe, with_labels, lengths):
    held = info["fields"]
    for key, spec in recipe.inputs.items():
        if (
            spec.kind == "vector"
            and key in info["lengths"]
            and lengths.get(key, info["lengths"][key]) != info["lengths"][key]
        ):
            raise DataError(
                f"{name}: inputs.{key}: the shards hold {info['lengths'][key]} features, not {lengths[key]}."
            )
    wanted = describe_fields(recipe, {**lengths, **info["lengths"], **_unknown(recipe, info)})
    for feature, form in wanted.items():
        if feature.startswith("label/") and not with_labels:
            continue
        if feature not in held:
            raise DataError(
                f"{name}: the shards lack {feature!r}. They hold: {sorted(held)}. Prepare them with this recipe."
            )
        ours = {k: v for k, v in form.items() if k != "shape"}
        theirs = {k: v for k, v in held[feature].items() if k != "shape"}
        # Frames and steps may be more or fewer than the recipe takes: blanks fill, the surplus is left out.
        free = form.get("of") == "video" or (form.get("of") == "vector" and len(form["shape"]) == 2)
        same = len(form["shape"]) == len(held[feature]["shape"]) if free else form["shape"] == held[feature]["shape"]
        if ours != theirs or not same:
            raise DataError(
                f"{name}: the shards hold {feature!r} as {held[feature]}, and the recipe takes {form}. Prepare them "
                "with this recipe."
            )


def _unknown(recipe, info):
    return {n: 0 for n, s in recipe.inputs.items() if s.kind == "vector" and n not in info["lengths"]}


def _copied(shards):
    here = LocalPlace(tempfile.mkdtemp(prefix="mm_keras_shards_"))
    weakref.finalize(here, shutil.rmtree, here.path, ignore_errors=True)
    for name in ("quarantine.csv", "dataset.json", *(f["file"] for f in shards.files)):
        with shards.place.open(name) as source, (here.path / name).open("wb") as target:
            while piece := source.read(2**20):
                target.write(piece)
    return Shards(here, shards.info).verify()
