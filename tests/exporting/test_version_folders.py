import pytest

from mm_keras.errors import ExportError
from mm_keras.exporting.bundle import list_versions, new_version
from mm_keras.exporting.inspection import inspect


def fill(out):
    with new_version(out) as (folder, final):
        (folder / "saved_model.pb").write_text("x")
    return final[0]


def test_versions_count_up_from_the_highest(tmp_path):
    assert fill(tmp_path / "a" / "pets") == tmp_path / "a" / "pets" / "1"
    assert fill(tmp_path / "a" / "pets").name == "2"
    (tmp_path / "a" / "pets" / "11").mkdir()
    assert fill(tmp_path / "a" / "pets").name == "12"
    assert list_versions(tmp_path / "a" / "pets") == [1, 2, 11, 12]


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with new_version(tmp_path / "a" / "pets") as (folder, _):
            (folder / "saved_model.pb").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_number_taken_meanwhile_is_skipped(tmp_path):
    with new_version(tmp_path / "pets") as (folder, final):
        (folder / "saved_model.pb").write_text("slow")
        fill(tmp_path / "pets")
    assert final[0].name == "2"
    assert (final[0] / "saved_model.pb").read_text() == "slow"


def test_a_version_folder_or_a_file_is_no_base_folder(tmp_path):
    version = fill(tmp_path / "pets")
    for out in (version, version / "saved_model.pb"):
        with pytest.raises(ExportError, match="expected a base folder"), new_version(out):
            pass


def test_inspecting_another_folder_says_what_is_missing(tmp_path):
    with pytest.raises(ExportError, match=r"holds no saved_model\.pb"):
        inspect(tmp_path)
    with pytest.raises(ExportError, match=r"1: not an export of mm_keras; it holds no schema\.json"):
        inspect(fill(tmp_path / "pets").parent)
