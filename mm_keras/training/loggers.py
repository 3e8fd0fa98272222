"""MLflow and Weights & Biases, through their own Keras callbacks; TensorBoard is always there."""

import contextlib
import importlib
import importlib.util
import json

from mm_keras.errors import DataError, Interrupted
from mm_keras.registry import nearest

LOGGERS = ("mlflow", "wandb")
FILE = "loggers.json"


def check_loggers(names):
    """Raises when a logger is unknown or not installed.

    Raises:
        DataError: With what to install.
    """
    for name in names:
        if name not in LOGGERS:
            raise DataError(f"`log_to` must be of {list(LOGGERS)}.{nearest(name, LOGGERS)} Received: {name!r}")
        if importlib.util.find_spec(name) is None:
            raise DataError(f"`log_to` {name!r} needs that package, which is absent: pip install 'mm_keras[{name}]'")


@contextlib.contextmanager
def logging_to(names, recipe, folder):
    """Opens a run in each logger, or goes on with the one that an earlier process opened for this folder.

    Where a run is open already, it is used and left open. Where things are stored is said by the loggers' own
    environment: `MLFLOW_TRACKING_URI`, `WANDB_MODE`, `WANDB_PROJECT`.

    Args:
        names: Of `LOGGERS`.
        recipe: The `Recipe`, which is stored there.
        folder: The run folder, which is there; its `loggers.json` remembers the runs.

    Yields:
        A list of `keras.callbacks.Callback`s.
    """
    path = folder / FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    with contextlib.ExitStack() as stack:
        callbacks = []
        for name in names:
            opened = stack.enter_context(OPEN[name](recipe, folder, known.get(name)))
            callbacks.append(opened[0])
            known[name] = opened[1]
        if names:
            path.write_text(json.dumps(known, indent=1), encoding="utf-8")
        yield callbacks


@contextlib.contextmanager
def _mlflow(recipe, folder, known):
    import mlflow

    logger = importlib.import_module("mlflow.keras").MlflowCallback()
    own = mlflow.active_run() is None
    run = mlflow.start_run(run_id=known, run_name=None if known else folder.name) if own else mlflow.active_run()
    if known:
        # Parameters of a run cannot change, and the optimizer's rate has.
        logger.on_train_begin = lambda logs=None: None
    else:
        mlflow.log_dict(json.loads(recipe.model_dump_json()), "recipe.json")
    status = "FAILED"
    try:
        yield logger, run.info.run_id
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        if own:
            mlflow.end_run(status)


@contextlib.contextmanager
def _wandb(recipe, folder, known):
    import wandb

    own = wandb.run is None
    if own:
        config = json.loads(recipe.model_dump_json())
        wandb.init(id=known, resume="allow", name=folder.name, dir=str(folder), config=config)
    code = 1
    try:
        yield importlib.import_module("wandb.integration.keras").WandbMetricsLogger(), wandb.run.id
        code = 0
    finally:
        if own:
            wandb.finish(exit_code=code)


OPEN = {"mlflow": _mlflow, "wandb": _wandb}
