"""The table of all exports: what stands in it, and that the command makes it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TABLE = BENCHMARKS / "results" / "exports.csv"
FORMS = ["SavedModel", "float32", "float16", "dynamic", "int8"]


def entries():
    spec = importlib.util.spec_from_file_location("exports", BENCHMARKS / "exports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.entries()


def assert_sound(table):
    """Each entry in each form is equal within its tolerance, or refused and says why; none crashed."""
    for entry, own in table.groupby("entry"):
        assert own["artefact"].tolist() == FORMS, entry
    equal = table[table["result"] == "equal"]
    limited = equal.dropna(subset="tolerance")
    assert (limited["worst"] <= limited["tolerance"]).all()
    assert set(equal[equal["tolerance"].isna()]["artefact"]) <= {"dynamic", "int8"}
    others = table[table["result"] != "equal"]
    assert (others["result"] == "refused").all()
    assert all(len(str(reason)) > 20 for reason in others["reason"])
    # These two are never refused.
    assert not set(others["artefact"]) & {"SavedModel", "float32"}


@pytest.mark.skipif(not TABLE.is_file(), reason="benchmarks/exports.py has not run")
def test_the_stored_table_is_sound():
    table = pd.read_csv(TABLE)
    assert set(table["entry"]) == set(entries())
    assert_sound(table)


@pytest.mark.long
def test_the_command_makes_the_table(tmp_path):
    out, chosen = tmp_path / "exports.csv", ["vector/mlp"]
    command = [sys.executable, str(BENCHMARKS / "exports.py"), "--rows", "300", "--out", str(out), "--only", *chosen]
    subprocess.run(command, check=True, capture_output=True, text=True)
    table = pd.read_csv(out)
    assert table["entry"].unique().tolist() == chosen
    assert_sound(table)
