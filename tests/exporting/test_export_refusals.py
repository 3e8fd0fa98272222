"""Exports that are broken on purpose must be refused, say why, and leave nothing behind."""

import os
import re
import signal

import pytest
from conftest import build_run, five_input_examples, five_input_recipe
from served_rows import ListRows, two_vector_rows, two_vector_run

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.exporting import child
from mm_keras.exporting import export as exporting
from mm_keras.exporting.litert import conversion

ROWS = two_vector_rows(300, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return two_vector_run(tmp_path_factory.mktemp("two"))


def refused(run, folder, **options):
    """Returns the text of the refusal; checks that nothing was written."""
    (folder / "home").mkdir()
    with pytest.raises(ExportError) as caught:
        mm.export(run, folder / "home" / "models" / "two", options.pop("rows", ROWS), verbose=False, **options)
    assert list((folder / "home").iterdir()) == []
    return str(caught.value)


def with_changed_weight(save):
    """Wraps a saver so that one weight of the written model differs by a hundredth."""

    def run_changed(path, run, model, **options):
        weight = model.get_layer("kind_logits").kernel
        before = weight.numpy()
        changed = before.copy()
        changed[0, 0] += 0.01
        weight.assign(changed)
        save(path, run, model, **options)
        weight.assign(before)

    return run_changed


@pytest.mark.slow
def test_a_good_one_passes_and_the_next_gets_the_next_number(run, tmp_path, capsys):
    first = mm.export(run, tmp_path / "two", ROWS)
    assert [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "drew", "LiteRT:", "LiteRT:", "SavedModel:", "LiteRT:", "45",
    ]  # fmt: skip
    (tmp_path / "two" / "7").mkdir()
    (tmp_path / "two" / "notes").mkdir()
    second = mm.export(run, tmp_path / "two", ROWS, litert=(), verbose=False)
    assert (first.version, second.version) == (1, 8)
    assert not (second.path / "litert").exists()
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["1", "7", "8", "notes", "serving"]
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_changed_weight_in_the_saved_model(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "save_saved_model", with_changed_weight(exporting.save_saved_model))
    text = refused(run, tmp_path, litert=())
    assert "SavedModel" in text
    assert re.search(r"SavedModel +tensors +difference .* 1e-05 +NO", text)
    assert "given left right" in text


@pytest.mark.slow
def test_a_changed_weight_in_litert(run, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "save_single", with_changed_weight(conversion.save_single))
    text = refused(run, tmp_path, litert="float32")
    assert "LiteRT float32 serving_default kind, given left right" in text
    assert re.search(r"LiteRT float32 +serving_default +difference .* 0\.0001 +NO", text)


@pytest.mark.slow
def test_calibration_in_the_wrong_order(run, tmp_path, monkeypatch):
    right = exporting.calibration_tensors

    def swapped(tensors, sequences):
        found = right(tensors, sequences)
        return {"left": found["right"], "right": found["left"]}

    monkeypatch.setattr(exporting, "calibration_tensors", swapped)
    text = refused(run, tmp_path, litert=("int8",))
    assert "accuracy drop" in text
    assert "Only int8 fails" in text
    assert "LiteRT int8 serving_default kind, given left right" in text


@pytest.mark.slow
def test_without_labels_int8_must_agree_with_the_model(run, tmp_path, monkeypatch):
    unlabelled = ListRows(ROWS.examples, {"kind": [""] * len(ROWS)})
    assert mm.export(run, tmp_path / "fine", unlabelled, litert="int8", verbose=False).parity["passed"].all()
    right = exporting.calibration_tensors
    monkeypatch.setattr(
        exporting, "calibration_tensors", lambda t, s: {"left": right(t, s)["right"], "right": right(t, s)["left"]}
    )
    assert "no row has a label" in refused(run, tmp_path, rows=unlabelled, litert="int8")


@pytest.mark.slow
def test_a_killed_converter(run, tmp_path, monkeypatch):
    wait = child.Child.wait

    def kill_converter(self):
        if "converter" in self.what:
            os.kill(self.process.pid, signal.SIGKILL)
        return wait(self)

    monkeypatch.setattr(child.Child, "wait", kill_converter)
    assert "the LiteRT converter to float32 was killed by SIGKILL (signal 9) while" in refused(run, tmp_path)


@pytest.mark.slow
def test_a_rolled_loop_is_refused_for_int8_and_not_for_float32(tmp_path, monkeypatch):
    recipe = five_input_recipe(title="gru").without("photo", "voice", "facts", "features")
    run = build_run(tmp_path / "run", recipe)
    rows = ListRows(
        [{"title": e["title"]} for e in five_input_examples(20)], {"category": ["a"] * 20, "rating": [1.0] * 20}
    )
    monkeypatch.setattr(conversion, "unrolled_model", lambda run, model: model)
    text = refused(run, tmp_path, rows=rows, litert=("int8",))
    assert text == "int8 needs unrolled recurrent layers. Received: a WHILE op, whose calibration would crash."


def test_words_and_rows_are_checked_before_any_work(run, tmp_path):
    known = "['float32', 'float16', 'dynamic', 'int8', 'int8_io']"
    assert f"`litert` takes some of {known}" in refused(run, tmp_path, litert=("int16",))
    with pytest.raises(ExportError, match="proven on real rows"):
        mm.export(run, tmp_path / "out", ListRows([], {"kind": []}), verbose=False)
    with pytest.raises(ExportError, match="keeps no rows"):
        mm.export(run, tmp_path / "out", verbose=False)
