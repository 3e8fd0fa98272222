"""What the README shows runs as written, and what it names exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mm_keras
from mm_keras.recipe import load_recipe
from mm_keras.registry import ENCODERS, FUSIONS

HOME = Path(__file__).resolve().parents[1]
README = (HOME / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_program_runs_as_written(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(blocks("python")[0], encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "explanation.html").stat().st_size > 5000
    assert (tmp_path / "saved_models/my_digits/1/litert/float32.tflite").is_file()


@pytest.mark.slow
def test_the_example_is_served_as_written():
    env = {**os.environ, "PYTHONPATH": str(HOME)}
    code = blocks("python")[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[:3] == ["id", "digit", "digit_probability"]


def test_the_recipe_is_one():
    recipe = load_recipe(mm_keras.recipe.yaml.safe_load(blocks("yaml")[0]))
    assert recipe.inputs["title"].encoder_kind == "gru"


def test_every_encoder_and_fusion_is_named():
    for name in (*FUSIONS, *(n for kinds in ENCODERS.values() for n in kinds)):
        assert f"`{name}`" in README, name


def test_every_method_of_explanation_is_named():
    from mm_keras.explanation.methods import METHODS

    for name in METHODS:
        assert f"`{name}`" in README, name


def test_the_commands_exist():
    from typer.main import get_command

    from mm_keras.cli import app

    known = set(get_command(app).commands)
    named = set(re.findall(r"^mm-keras ([\w-]+)", "\n".join(blocks("bash")), re.MULTILINE))
    assert named
    assert named <= known
    targets = set(re.findall(r"^(\w[\w-]*):", (HOME / "Makefile").read_text(), re.MULTILINE))
    shown = {a or b for a, b in re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", README, re.MULTILINE)}
    assert {"demo", "test"} <= shown
    assert shown <= targets
