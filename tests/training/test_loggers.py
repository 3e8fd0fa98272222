"""MLflow and Weights & Biases: refused with what to install, or one run there for one training."""

import importlib.util
import json

import keras
import pytest
from conftest import card_recipe

from mm_keras.data.manifest import load
from mm_keras.errors import DataError, Interrupted
from mm_keras.training.fit import fit
from mm_keras.training.loggers import check_loggers, logging_to


def test_an_absent_or_unknown_logger_is_refused_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"`log_to` 'wandb' needs that package, .*pip install 'mm_keras\[wandb\]'"):
        check_loggers(["wandb"])
    with pytest.raises(DataError, match=r"must be of \['mlflow', 'wandb'\]. Did you mean 'mlflow'\? Received: 'mlfow'"):
        check_loggers(["mlfow"])
    recipe = card_recipe()
    with pytest.raises(DataError, match="needs that package"):
        fit(recipe, None, tmp_path / "run", log_to="mlflow")
    assert not (tmp_path / "run").exists()
    with logging_to((), recipe, tmp_path) as callbacks:
        assert callbacks == []
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_that_goes_on_is_one_run_in_mlflow(digits_folder, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.chdir(tmp_path)
    recipe = card_recipe(epochs=2)
    data = load(digits_folder / "manifest.csv", recipe)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        fit(recipe, data, tmp_path / "run", verbose=False, callbacks=[Stop()], log_to="mlflow")
    number = json.loads((tmp_path / "run/loggers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient()
    assert client.get_run(number).info.status == "KILLED"
    run = fit(recipe, data, tmp_path / "run", verbose=False, resume=True, log_to=["mlflow"])
    found = client.get_run(number)
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer_weight_decay"] == str(recipe.training.weight_decay)
    history = [m.value for m in sorted(client.get_metric_history(number, "loss"), key=lambda m: m.step)]
    with open(run.folder / "history.csv") as file:
        column = file.readline().strip().split(",").index("loss")
        expected = [float(line.split(",")[column]) for line in file]
    assert history == pytest.approx(expected)
    assert len(history) == 2


@pytest.mark.slow
def test_a_training_is_a_run_of_wandb_offline(digits_folder, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = card_recipe()
    fit(recipe, load(digits_folder / "manifest.csv", recipe), tmp_path / "run", verbose=False, log_to="wandb")
    number = json.loads((tmp_path / "run/loggers.json").read_text())["wandb"]
    assert list((tmp_path / "run/wandb").glob(f"offline-run-*-{number}/run-{number}.wandb"))
