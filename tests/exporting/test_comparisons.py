import numpy as np
import pytest

import mm_keras.recipe as parts
from mm_keras.exporting.checks import Check, summarise
from mm_keras.exporting.parity import compare_labels, input_subsets, relative_difference
from mm_keras.exporting.quality import quality_checks
from mm_keras.exporting.sample import calibration_tensors
from mm_keras.exporting.served.check import refused_ops
from mm_keras.tasks import build_task

TASKS = {
    "kind": build_task("kind", parts.Classification(), {"classes": ["a", "b"], "counts": [1, 1]}),
    "size": build_task("size", parts.Regression(), {"mean": 0.0, "deviation": 2.0}),
}


def test_subsets_are_all_but_the_empty_one():
    assert input_subsets("ab") == [("a", "b"), ("a",), ("b",)]
    assert [len(input_subsets(range(n))) for n in (1, 4, 5, 8)] == [1, 15, 31, 255]
    assert len(input_subsets(range(10))) == 1 + 10 + 45 + 10


def test_difference_is_relative_to_the_largest_value():
    assert relative_difference([1.0, 2.0], [1.0, 4.0]) == pytest.approx(0.5)
    assert relative_difference([0.0], [0.0]) == 0.0
    assert relative_difference([np.nan], [np.nan]) == np.inf
    assert relative_difference([1.0, 2.0], [1.0]) == np.inf


def test_int8_loses_what_it_gets_wrong():
    reference = {"kind": np.eye(2)[[0, 0, 1, 1]], "size": np.array([[1.0], [2.0], [3.0], [4.0]])}
    outputs = {"kind": np.eye(2)[[1, 0, 1, 0]], "size": np.array([[3.0], [2.0], [3.0], [4.0]])}
    targets = {"kind": np.array([0, 0, 1, -1]), "size": np.array([1.0, 2.0, np.nan, 6.0])}
    drop, differing, growth, apart = quality_checks("LiteRT int8", TASKS, ("x",), outputs, reference, targets, 0.01)
    assert (drop.value, drop.rows, drop.passed) == (pytest.approx(1 / 3), 3, True)  # one row is always allowed
    assert (differing.value, differing.tolerance) == (0.5, None)
    # Errors 0, 0, -2 before and 2, 0, -2 after, on three labelled rows, in deviations of 2.
    assert growth.value == pytest.approx((np.sqrt(8 / 3) - np.sqrt(4 / 3)) / 2)
    assert not growth.passed
    assert apart.value == pytest.approx(np.sqrt(4 / 4) / 2)


def test_without_labels_int8_is_held_to_the_float_model():
    reference = {"kind": np.eye(2)[[0] * 100 + [1] * 100], "size": np.zeros((200, 1))}
    targets = {"kind": np.full(200, -1), "size": np.full(200, np.nan)}
    for wrong, fine in ((2, True), (3, False)):
        guesses = [0] * (100 - wrong) + [1] * (100 + wrong)
        outputs = {"kind": np.eye(2)[guesses], "size": np.full((200, 1), wrong * 0.09)}
        kind, size = quality_checks("LiteRT int8", TASKS, ("x",), outputs, reference, targets, 0.01)
        assert (kind.value, kind.passed) == (wrong / 200, fine)
        assert (size.value, size.passed) == (pytest.approx(0.045 * wrong), fine)


def test_a_label_may_differ_only_where_the_model_is_torn():
    reference = {"kind": np.array([[0.5, 0.5 - 1e-6], [0.4, 0.6]])}
    classes = np.tile(np.array([b"a", b"b"], object), (2, 1))
    for labels, wrong in (((b"b", b"b"), 0.0), ((b"a", b"a"), 0.5)):
        outputs = {"kind_label": np.array(labels, object), "kind_classes": classes}
        (check,) = compare_labels("tensors", ("x",), outputs, reference, TASKS)
        assert check.value == wrong
    outputs = {"kind_label": np.array([b"a", b"b"], object), "kind_classes": classes[:, ::-1]}
    assert compare_labels("tensors", ("x",), outputs, reference, TASKS)[0].value == 1.0


def test_the_summary_shows_the_worst_subset():
    checks = [
        Check("SavedModel", "tensors", "difference", "kind", (name,), 5, value, 1e-5)
        for name, value in (("a", 1e-7), ("b", np.inf), ("c", 1e-6))
    ]
    (line,) = summarise(checks).to_dict("records")
    assert (line["worst_subset"], line["subsets"], line["rows"], line["passed"]) == ("b", 3, 15, False)
    assert checks[1].to_json()["value"] is None
    assert not checks[1].to_json()["passed"]


def test_one_calibration_row_in_four_comes_again_with_inputs_blanked_but_never_all():
    tensors = {"a": np.ones((40, 2), np.float32), "b": np.ones((40, 3), np.int32)}
    found = calibration_tensors(tensors)
    given = np.stack([found["a"].any(axis=1), found["b"].any(axis=1)])
    assert given.shape == (2, 40 + 10 + 5)
    assert given.any(axis=0).all()
    assert found["b"].dtype == np.int32
    assert given[:, :40].all()
    assert 0 < given[:, 40:50].sum() < 20
    assert given[:, 50:].all()


def test_one_calibration_row_in_eight_comes_again_at_full_length():
    ids = np.array([[5, 6, 7, 0, 0, 0, 0], [0] * 7, [8, 0, 0, 0, 0, 0, 0]], np.int32).repeat([4, 3, 2], axis=0)
    frames = np.zeros((9, 4, 2), np.float32)
    frames[0, :3] = [[1, 2], [0, 3], [4, 0]]
    found = calibration_tensors({"ids": ids, "frames": frames, "pixels": frames}, ["ids", "frames"])
    assert [len(v) for v in found.values()] == [9 + 6 + 2] * 3
    np.testing.assert_array_equal(found["ids"][-2:], [[5, 6, 7, 5, 6, 7, 5], [8] * 7])
    np.testing.assert_array_equal(found["frames"][-2:, :, 0], [[1, 0, 4, 1]] * 2)  # of the only row that has any
    np.testing.assert_array_equal(found["pixels"][-2:], frames[::8])
    assert found["ids"].dtype == np.int32


def test_ops_that_a_server_lacks_are_refused_by_name():
    forbidden = ["CudnnRNNV3", "EagerPyFunc", "IO>Decode", "RoundRobinTrim"]
    known = {"Add", *forbidden}
    assert refused_ops({"Add"}, known) == []
    assert refused_ops(known | {"Strange"}, known) == [*forbidden, "Strange"]
