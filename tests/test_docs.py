"""What a docstring says is a default, is the default."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "mm_keras"
ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
DEFAULT = re.compile(r"Defaults to\s+`([^`]+)`")


def documented(docstring):
    """Returns `{argument: default as written}` of the `Args` section."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring or "", re.MULTILINE | re.DOTALL)
    found = {}
    for name, text in ENTRY.findall(section[1] if section else ""):
        if match := DEFAULT.search(text):
            found[name] = match[1]
    return found


def arguments(function):
    """Returns `{argument: default node}` of a function, those without a default left out."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    pairs = [
        *zip(positional[::-1], spec.defaults[::-1], strict=False),
        *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
    ]
    return {a.arg: default for a, default in pairs if default is not None}


def fields(node):
    """Returns `{field: default node}` of a class of annotated fields."""
    return {s.target.id: s.value for s in node.body if isinstance(s, ast.AnnAssign) and s.value is not None}


def constructor(node, classes):
    """Returns the `__init__` of a class, or of its first base in the package; `None` when there is none."""
    init = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    bases = [classes[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in classes]
    return init or (constructor(bases[0], classes) if bases else None)


def classes_of(tree):
    """Returns `{name: node}`."""
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def claims(tree):
    """Yields `(owner, argument, documented default, real default node or None)`."""
    classes = CLASSES | classes_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            real, names = arguments(node), {a.arg for a in node.args.args}
        elif isinstance(node, ast.ClassDef):
            init = constructor(node, classes)
            real, names = fields(node) | (arguments(init) if init else {}), set()
        else:
            continue
        for name, text in documented(ast.get_docstring(node)).items():
            if text not in names:  # "Defaults to `rows`": another argument
                yield node.name, name, text, real.get(name)


def literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
CLASSES = {name: node for tree in TREES.values() for name, node in classes_of(tree).items()}
CLAIMS = [
    pytest.param(text, node, id=f"{path.stem}-{owner}-{name}")
    for path, tree in TREES.items()
    for owner, name, text, node in claims(tree)
]


@pytest.mark.parametrize(("text", "node"), CLAIMS)
def test_documented_defaults_are_the_real_ones(text, node):
    assert node is not None, "no such argument, or it has no default"
    real = literal(ast.unparse(node))
    assert literal(text) == real
    assert type(literal(text)) is type(real)


DRIFTED = '''
def f(a, b=1e-6):
    """Does.

    Args:
        a: It.
        b: Size,
            long. Defaults to `1e-5`.
    """
'''


def test_the_walk_finds_drift():
    assert [(n, t, ast.unparse(d)) for _, n, t, d in claims(ast.parse(DRIFTED))] == [("b", "1e-5", "1e-06")]
    assert len(CLAIMS) > 10
