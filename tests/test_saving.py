"""A folder is one process's while it works there."""

import os
import subprocess
import sys

import pytest

import mm_keras as mm
from mm_keras.errors import DataError
from mm_keras.saving import LOCK, working_in

HOLD = """
import sys
from mm_keras.saving import working_in

with working_in(sys.argv[1]):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_refused_and_told_who_works_there(tmp_path):
    with working_in(tmp_path / "out"):
        with pytest.raises(DataError, match=rf"out: process {os.getpid()} on \S+ is working here. Wait until it ends"):
            with working_in(tmp_path / "out"):
                pytest.fail("both hold the folder")
        with pytest.raises(DataError, match="is working here"):  # the refused one has not let go
            with working_in(tmp_path / "out"):
                pytest.fail("both hold the folder")
    with working_in(tmp_path / "out"):
        pass


def test_the_lock_ends_with_its_process(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(DataError, match=f"process {holder.pid} on"):
            with working_in(tmp_path):
                pytest.fail("both hold the folder")
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / LOCK).is_file()
    with working_in(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_nothing_remains_of_work_that_put_nothing_there(tmp_path):
    with pytest.raises(ZeroDivisionError), working_in(tmp_path / "new"):
        _ = 1 / 0
    assert not (tmp_path / "new").exists()
    with working_in(tmp_path / "new"):
        (tmp_path / "new" / "kept").touch()
    (tmp_path / "old").mkdir()
    with working_in(tmp_path / "old"):
        pass
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["new", "kept", "old"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"out: is a file. Choose a folder"), working_in(tmp_path / "out"):
        pytest.fail("works in a file")


@pytest.mark.parametrize("work", [mm.fit, mm.search, mm.compare, mm.ensemble, mm.prepare], ids=lambda f: f.__name__)
def test_work_that_lasts_keeps_its_folder(work, tmp_path):
    manifest = mm.make_distractor(tmp_path / "data", rows=60)
    recipe = manifest.parent / "recipe.yaml"
    source = {mm.prepare: (manifest, recipe)}.get(work, (recipe, manifest))
    with working_in(tmp_path / "out"), pytest.raises(DataError, match=r"out: .* is working here"):
        work(*source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_that_goes_on_is_refused_while_the_first_lives(tmp_path):
    manifest = mm.make_distractor(tmp_path / "data", rows=60)
    with working_in(tmp_path / "out"), pytest.raises(DataError, match="is working here"):
        mm.fit(manifest.parent / "recipe.yaml", manifest, tmp_path / "out", resume=True, verbose=False)
