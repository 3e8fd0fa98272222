"""What is learned from the training rows before the first step: vocabularies, statistics, class names."""

from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.tasks import build_task
from mm_keras.training.graph_labels import GraphLabels
from mm_keras.training.knowledge import pretrain_vectors
from mm_keras.training.transfer import source_state


def learn(recipe, data):
    """Returns `({input: preprocessor}, {task: task})`, adapted to the training rows alone.

    An encoder that starts from another run brings what its preprocessing learned there.

    Args:
        recipe: A `Recipe`.
        data: A `Data`.
    """
    train = data.train
    preprocessors = {name: build_preprocessor(name, spec) for name, spec in recipe.inputs.items()}
    for name, preprocessor in preprocessors.items():
        state = source_state(name, recipe.inputs[name])
        if state is not None:
            preprocessor.state = state
        if name in data.vectors:
            preprocessor.state["columns"] = data.vectors[name]
        if state is None:
            if name in data.graphs:
                preprocessor.state |= data.graphs[name]
            preprocessor.adapt(train.cells[name])
        if recipe.inputs[name].kind == "entity":
            preprocessor.vectors = pretrain_vectors(recipe.inputs[name], preprocessor.state, recipe.training.seed)
    return preprocessors, learn_tasks(recipe, data)


def learn_tasks(recipe, data):
    """Returns `{task: task}`, adapted to the training rows alone.

    Raises:
        DataError: When two columns of the predictions would have one name.
    """
    train = data.train
    tasks = {name: build_task(name, spec) for name, spec in recipe.tasks.items()}
    for name, task in tasks.items():
        task.adapt(train.labels[name], data.classes.get(name))
    owners = {}
    for name, column in ((name, column) for name, task in tasks.items() for column in task.columns):
        if column in owners:
            raise DataError(
                f"predictions would have two columns {column!r}, of tasks.{owners[column]} and tasks.{name}: each "
                "class has one, beside those of probability, abstention and intervals. Rename the class or the task."
            )
        owners[column] = name
    return tasks


def targets_and_weights(tasks, rows):
    """Returns `({task: loss target (rows, ...)}, {task: loss weight (rows,)})`."""
    encoded = {name: task.encode(rows.labels[name]) for name, task in tasks.items()}
    targets = {name: task.target(encoded[name]) for name, task in tasks.items()}
    return targets, {name: task.weights(encoded[name]) for name, task in tasks.items()}


def loss_labels(tasks, heads, rows):
    """Returns the `labels` that `make_dataset` takes, for the loss of each head.

    Args:
        tasks: `{task: task}`, adapted.
        heads: `{head: its task}`.
        rows: A `Rows`, or a `ShardedRows`, whose labels are read with its records.
    """
    if isinstance(rows, ShardedRows):
        return GraphLabels(tasks, heads)
    return tuple({head: part[task] for head, task in heads.items()} for part in targets_and_weights(tasks, rows))
