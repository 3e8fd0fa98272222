"""Keras on JAX, with TensorFlow beside it and without it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from devices_child import two_input_recipe, two_input_table
from test_devices import jax_runs  # noqa: F401 (a fixture)

import mm_keras as mm
from mm_keras.errors import RecipeError


def child(code, backend, *words):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        capture_output=True,
        text=True,
        timeout=500,
    )


# `sys.modules["tensorflow"] = None` would not do: Keras looks there for the name alone.
WITHOUT = (
    "import sys\n"
    "class Absent:\n"
    "    def find_spec(name, path=None, target=None):\n"
    "        if name.partition('.')[0] == 'tensorflow':\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Absent)\n"
)


def test_models_are_built_without_tensorflow():
    code = WITHOUT + (
        "import importlib, pathlib, mm_keras, mm_keras as mm\n"
        "from mm_keras.model import build_model\n"
        "from mm_keras.recipe.tensors import TensorInfo\n"
        "from mm_keras.tasks import build_task\n"
        "root = pathlib.Path(mm_keras.__file__).parent\n"
        "for room in ('encoders', 'fusion', 'tasks'):\n"
        "    for file in (root / room).glob('*.py'):\n"
        "        importlib.import_module(f'mm_keras.{room}.{file.stem}'.removesuffix('.__init__'))\n"
        "small = mm.Encoder(size='tiny')\n"
        "recipe = mm.Recipe(\n"
        "    inputs={'photo': mm.Image(size=(8, 8), encoder=small), 'title': mm.Text(length=4, encoder=small)},\n"
        "    fusion='gated', tasks={'kind': mm.Classification(), 'price': mm.Regression()})\n"
        "states = {'kind': {'classes': ['a', 'b'], 'counts': [1, 1]}, 'price': {'mean': 1.0, 'deviation': 2.0}}\n"
        "tasks = {n: build_task(n, spec, states[n]) for n, spec in recipe.tasks.items()}\n"
        "tensors = {'photo': TensorInfo((8, 8, 3)), 'title': TensorInfo((4,), 'int32', vocabulary_size=9)}\n"
        "print(build_model(recipe, tensors, tasks).count_params())"
    )
    run = child(code, "numpy")
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) > 100


@pytest.mark.parametrize("training", [{"mixup": 0.2}, {"balance": "ogm_ge"}, {"ema": 0.9}])
def test_what_arrays_cannot_hold_is_refused(training, tmp_path):
    recipe = two_input_recipe(**training)
    with pytest.raises(RecipeError, match=f"^training.{next(iter(training))}: arrays cannot hold it"):
        mm.write_arrays(recipe, mm.load(two_input_table(), recipe), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_arrays_are_trained_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    recipe = two_input_recipe(epochs=12)
    folder = mm.write_arrays(recipe, mm.load(two_input_table(), recipe), tmp_path / "run")
    code = WITHOUT + (
        "import numpy as np, mm_keras as mm\n"
        "model = mm.fit_arrays(sys.argv[1], verbose=False)\n"
        "with np.load(sys.argv[1] + '/arrays/validation.npz') as file:\n"
        "    inputs = {n: file[f'input/{n}'] for n in ('signal', 'card')}\n"
        "np.savez(sys.argv[1] + '/answers.npz', **model.predict_on_batch(inputs))"
    )
    run = child(code, "jax", folder)
    assert run.returncode == 0, run.stderr[-3000:]

    trained = mm.load_run(folder)
    assert trained.info["backend"] == "jax"
    rows = trained.rows("validation")
    tensors, _ = trained.encode([rows.example(i) for i in range(len(rows))])
    with np.load(folder / "answers.npz") as answers:
        for task, values in trained.forward(tensors).items():
            np.testing.assert_allclose(values, answers[task], atol=1e-5)
    losses = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)["val_loss"]
    assert losses[-1] < losses[0]
    assert mm.calibrate(trained).fitted["kind"]["rows"] == 11


@pytest.mark.slow
def test_a_run_of_jax_is_one_of_tensorflow(jax_runs, tmp_path):  # noqa: F811
    folder = jax_runs / "on_1"
    code = (
        "import sys, numpy as np, mm_keras as mm\n"
        "from mm_keras.errors import BackendError\n"
        "run = mm.load_run(sys.argv[1])\n"
        "table = mm.predict(run, [run.rows('test').example(i) for i in range(8)])\n"
        "table.to_pickle(sys.argv[2])\n"
        "row = run.rows('test').example(0)\n"
        "for call in (mm.export, run, sys.argv[2] + '_out'), (mm.explain, run, row):\n"
        "    try:\n"
        "        call[0](*call[1:])\n"
        "    except BackendError as error:\n"
        "        print(error)"
    )
    run = child(code, "jax", folder, folder / "table.pkl")
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("KERAS_BACKEND=tensorflow") == 2

    import pandas as pd

    theirs, here = pd.read_pickle(folder / "table.pkl"), mm.load_run(folder)
    ours = mm.predict(here, [here.rows("test").example(i) for i in range(8)])
    for column in ours.select_dtypes("number"):
        np.testing.assert_allclose(theirs[column], ours[column], atol=1e-5)
    assert list(theirs["kind"]) == list(ours["kind"])
    # Written only if equal to the model, for every subset of its inputs.
    assert mm.export(here, tmp_path / "served", litert=("float32",), verbose=False).path.is_dir()
