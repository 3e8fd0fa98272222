"""The benchmark on a GPU: its driver, and a dry run on the processor."""

import json
import subprocess
import sys
from importlib.util import find_spec

import benchmark_scripts  # noqa: F401
import gpu
import numpy as np
import pytest
from measuring import HERE


def cell(speeds):
    return {"contenders": {name: {"samples_per_second": s} for name, s in speeds.items()}}


def test_what_no_longer_fits_is_left_out_and_named():
    cells = [{"backend": "jax", "size": s, "precision": "bfloat16"} for s in ("tiny", "small", "base")]
    # It is read at the start, and before, at the start of and after each cell.
    clock = iter([0.0, 0.0, 0.0, 40.0, 40.0, 40.0, 90.0, 90.0])
    given = []

    def run(settings, seconds):
        given.append(seconds)
        return (cell({"mm_keras": 1.0}), None) if settings["size"] == "tiny" else (None, "out of memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu.time, "monotonic", lambda: next(clock))
        measured, skipped = gpu.measure(cells, 100.0, run)
    assert given == [100.0, 60.0]
    assert list(measured) == ["tiny bfloat16"]
    assert skipped["small bfloat16"] == "out of memory"
    assert skipped["base bfloat16"] == "10 s were left of 100, and a cell takes 50"


def test_rows_are_ratios_of_throughputs():
    found = cell({"torch eager": 50.0, "torch.compile": 80.0, "mm_keras from host": 95.0, "mm_keras": 100.0})
    rows = gpu.ratios_of({"base bfloat16": found})
    assert {label: (line["ratio"], line["better"], line["goal"]) for label, line in rows.items()} == {
        "throughput over torch.compile, base bfloat16": (1.25, "higher", 1.0),
        "throughput over torch eager, base bfloat16": (2.0, "higher", 1.0),
        "fed from host over synthetic, base bfloat16": (0.95, "higher", 0.9),
    }
    # One that did not run has no row, nor has what is compared with it.
    assert gpu.ratios_of({"base bfloat16": cell({"torch eager": 50.0, "mm_keras from host": 95.0})}) == {}


@pytest.mark.parametrize(
    ("code", "seconds", "reason"),
    [
        ("import time; time.sleep(60)", 1.0, "did not end in 1 s"),
        ("raise MemoryError('8 GB')", 60.0, "MemoryError: 8 GB"),
        ("pass", 60.0, "no output"),
    ],
)
def test_a_cell_that_fails_says_why(code, seconds, reason):
    assert gpu.run_cell({"backend": "jax"}, seconds, [sys.executable, "-c", code]) == (None, reason)


def test_without_a_device_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.gpus() == []
    with pytest.raises(SystemExit, match="no GPU was found; --dry-run"):
        gpu.main()


@pytest.mark.slow
def test_the_dry_run_goes_through_it_all(tmp_path):
    backend = "jax" if find_spec("jax") else "tensorflow"
    contenders = ["mm_keras", "mm_keras from host", *(["torch eager"] if find_spec("torch") else [])]
    command = [sys.executable, str(HERE / "gpu.py"), "--dry-run", "--backends", backend, "--contenders", *contenders]
    done = subprocess.run([*command, "--out", str(tmp_path / "gpu.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    (label,) = found["measured"]["cells"]
    assert label == ("tiny float32" if backend == "jax" else "tiny float32 on tensorflow")
    figures = found["measured"]["cells"][label]["contenders"]
    assert set(figures) == set(contenders)
    for one in figures.values():
        assert one["samples_per_second"] * one["step_ms"] == pytest.approx(8 * 1000, rel=1e-2)
        assert one["memory_mb"] is None
    assert f"fed from host over synthetic, {label}" in found["ratios"]
    assert not found["skipped"]
    assert found["measured"]["device"].startswith("no GPU")


@pytest.mark.parametrize("size", ["small"])
def test_by_hand_it_is_the_same_model(size):
    import gpu_cell
    from handmade import keras_model
    from handmade.sizes import TOKEN_UNITS, UNITS, Sizes

    sizes = Sizes(picture=(33, 20, 3), sound=(21, 30), features=30, columns=8, encoder=size)
    ours = gpu_cell.build_network(sizes, "float32")[0].count_params()
    by_hand = keras_model.build(sizes)
    # Ours has a vector for each missing input, and a token for each column instead of one layer over all columns.
    missing, tokens = 4 * UNITS[size], TOKEN_UNITS[size] * (30 - (30 + 1) * 8)
    assert ours - by_hand.count_params() == missing + tokens
    if find_spec("torch"):
        from handmade.torch_model import Reference

        in_torch = sum(p.numel() for p in Reference(sizes).parameters())
        assert in_torch == sum(int(np.prod(w.shape)) for w in by_hand.trainable_variables)
