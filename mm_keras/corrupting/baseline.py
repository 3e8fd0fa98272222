"""Another run to compare with: does it read the same values?"""

from mm_keras.errors import DataError


def check_baseline(run, baseline, task):
    """Raises `DataError` when a run cannot be asked what another is asked.

    Args:
        run: A `Run`.
        baseline: Another.
        task: Name of the task of both.
    """
    where = f"baseline {baseline.folder}"
    if task not in baseline.tasks:
        raise DataError(f"{where}: has no task {task!r}. Its tasks: {list(baseline.tasks)}")
    own, other = run.tasks[task], baseline.tasks[task]
    if own.is_categorical != other.is_categorical:
        raise DataError(f"{where}: task {task!r} is of another kind.")
    if own.is_categorical and (more := sorted(set(own.classes) - set(other.classes))):
        raise DataError(f"{where}: task {task!r} lacks the classes {more[:5]}.")
    if surplus := [n for n in baseline.preprocessors if n not in run.preprocessors]:
        raise DataError(f"{where}: reads the inputs {surplus}, which the run lacks.")
    for name, p in baseline.preprocessors.items():
        own, other = _values(run.preprocessors[name]), _values(p)
        if own != other:
            raise DataError(f"{where}: input {name!r} reads other values: {other}, where the run reads {own}.")


def _values(preprocessor):
    specs = {f: (s.dtype.name, s.shape.as_list()) for f, s in preprocessor.raw_specs.items()}
    return preprocessor.spec.layout, specs, getattr(preprocessor, "parts", 1)
