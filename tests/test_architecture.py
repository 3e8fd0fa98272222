"""The rooms of the house: who may import whom, and what may stand where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "mm_keras"
FILES = sorted(ROOT.rglob("*.py"))
# Imports flow from left to right; rooms of one row do not import each other.
ROWS = [
    {"errors"},
    {"registry", "saving", "masking"},
    {"pages"},
    {"recipe"},
    {"preprocessing", "extension"},
    {"data", "encoders", "fusion", "tasks"},
    {"model"},
    {"training"},
    {"evaluation"},
    {"explanation"},
    {"exporting"},  # a served model may say why
    {"comparison", "ensembling", "corrupting", "searching"},  # the first tells sizes and latencies of exports
    {"reporting"},
    {"diagnosing"},
    {"cli"},
]
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
# `diagnosing` tells which libraries there are, and times the data chain.
TENSORFLOW = {"preprocessing", "data", "training", "evaluation", "explanation", "exporting", "comparison", "diagnosing"}
TENSORFLOW |= {"corrupting"}  # raw values: files of pictures and sounds
# What Keras has no word for; imported when it is called, and Keras runs on TensorFlow.
ALONE = {"encoders/normalizing.py"}
KERAS = TENSORFLOW | {"extension", "encoders", "fusion", "tasks", "model", "ensembling", "searching", "masking"}
FORBIDDEN_NAMES = {"utils", "common", "base", "constants", "helpers", "misc"}


def room_of(path):
    """Returns the room a file belongs to, `""` for `mm_keras/__init__.py`."""
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(tree):
    """Yields `(line, module)` of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            if node.module == "mm_keras":
                yield from ((node.lineno, f"mm_keras.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def entries(tree):
    """Yields `(line, module)` of the lazy `"mm_keras.room.module:attribute"` strings of a registry."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            module = node.value.split(":")[0]
            if module.startswith("mm_keras.") and module.replace(".", "").replace("_", "").isalnum():
                yield node.lineno, module


def public_names(tree):
    """Returns the names that a file takes from `mm_keras` itself; `mm_keras.__file__` and the like are none."""
    attributes = [
        node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return sorted({a.attr for a in attributes if a.value.id in ("mm_keras", "mm") and not a.attr.startswith("__")})


def faults(path, tree):
    """Returns the imports of one file that go against the flow, or bring a library where it does not belong."""
    room, found = room_of(path), []
    has_tensorflow = room in TENSORFLOW or str(path.relative_to(ROOT)) in ALONE
    for line, module in imports(tree):
        top, *rest = module.split(".")
        if module == "mm_keras":
            if room != "cli" and (used := public_names(tree)):
                found.append(f"{path.name}:{line}: {room} takes {used} from the public face")
        elif top == "mm_keras":
            other = rest[0]
            if room and other != room and RANK.get(other, 99) >= RANK[room]:
                found.append(f"{path.name}:{line}: {room} imports {module}")
        elif top in ("tensorflow", "tensorflow_text", "tensorflow_io") and not has_tensorflow:
            found.append(f"{path.name}:{line}: {room} imports {module}")
        elif top == "keras" and room not in KERAS:
            found.append(f"{path.name}:{line}: {room} imports {module}")
        elif top in ("matplotlib", "seaborn") and room != "reporting" and path.name != "plot.py":
            found.append(f"{path.name}:{line}: {room} imports {module}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_flow_one_way_and_libraries_stay_in_their_rooms(path):
    assert faults(path, ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("file", "line", "is_fault"),
    [
        ("fusion/gated.py", "from mm_keras.encoders.text import x", True),
        ("fusion/gated.py", "from mm_keras.fusion.concat import x", False),
        ("fusion/gated.py", "import tensorflow as tf", True),
        ("recipe/inputs/image.py", "import keras", True),
        ("recipe/inputs/image.py", "def f():\n    from mm_keras.preprocessing import x", True),
        ("data/rows.py", "from mm_keras import model", True),
        ("evaluation/a.py", "from mm_keras.training.run import Run", False),
        ("explanation/plot.py", "import matplotlib.pyplot", False),
        ("evaluation/a.py", "import matplotlib.pyplot", True),
        ("data/a.py", "import mm_keras as mm\nmm.fit()", True),
        ("data/a.py", "import mm_keras\nmm_keras.__file__", False),
    ],
)
def test_the_walk_itself_finds_faults(file, line, is_fault):
    assert bool(faults(ROOT / file, ast.parse(line))) is is_fault


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imported_modules_and_names_exist(path):
    """Lazy imports, inside functions, would otherwise fail when a user comes by."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mm_keras."):
            place = ROOT.parent / node.module.replace(".", "/")
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            assert file.is_file(), f"{path.name}:{node.lineno}: {node.module}"
            text = file.read_text(encoding="utf-8")
            for alias in node.names:
                is_module = (place / f"{alias.name}.py").is_file() or (place / alias.name).is_dir()
                assert is_module or alias.name in text, f"{path.name}:{node.lineno}: {alias.name}"


def test_every_room_is_known():
    assert {room_of(path) for path in FILES} - {""} <= set(RANK)


def test_registry_entries_lead_somewhere():
    tree = ast.parse((ROOT / "registry.py").read_text())
    modules = {module for _, module in entries(tree)} - {"mm_keras.registry.FUSIONS"}
    assert len(modules) > 10
    for module in modules:
        assert (ROOT.parent / (module.replace(".", "/") + ".py")).is_file(), module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_assert_no_bare_except_no_room_without_a_name(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: assert"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path}:{node.lineno}: bare except"
    assert path.stem not in FORBIDDEN_NAMES
    assert not path.stem.endswith("_utils")


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_importing_does_nothing():
    code = (
        "import os, sys, warnings; before = dict(os.environ), list(warnings.filters); import mm_keras; dir(mm_keras)\n"
        "assert (dict(os.environ), list(warnings.filters)) == before\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'pandas', 'matplotlib', 'pydantic', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run = python(code)
    assert (run.stdout, run.stderr) == ("", "")


def test_a_recipe_needs_no_tensorflow():
    code = (
        "import sys, mm_keras as mm\n"
        "recipe = mm.Recipe(inputs={'a': mm.Image(), 'b': mm.Text(remove='x+')}, tasks={'c': mm.Classification()})\n"
        "recipe.to_yaml(), mm.Recipe.json_schema()\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    run = python(code)
    assert (run.stdout, run.stderr) == ("", "")


def test_public_names_are_listed_and_unknown_ones_refused():
    import mm_keras

    assert mm_keras.__all__ == sorted(mm_keras.__all__) == dir(mm_keras)
    # Importing a room puts its module in the place of a name that is spelt alike.
    assert not set(mm_keras.__all__) & set(RANK)
    for name in mm_keras.__all__:
        room = mm_keras._NAMES[name]
        assert (ROOT / (room.replace(".", "/") + ".py")).is_file() or (ROOT / room / "__init__.py").is_file(), name
    with pytest.raises(AttributeError, match="module 'mm_keras' has no attribute 'nothing'"):
        mm_keras.nothing  # noqa: B018


def test_no_two_stored_classes_share_a_name():
    """Keras finds them by their name alone; a second one of a name would be loaded in place of the first."""
    names = [
        node.name
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any("register_keras_serializable" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert len(names) > 20
    assert sorted(names) == sorted(set(names))
