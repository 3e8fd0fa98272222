"""After how many seconds of silence another process counts as lost."""

import os

from mm_keras.errors import DataError

NAME = "MM_KERAS_HEARTBEAT"


def heartbeat_seconds(default, environment=None):
    """Returns the seconds that `MM_KERAS_HEARTBEAT` says.

    Args:
        default: What they are when it is not set.
        environment: Variables to read. Defaults to those of the process.

    Raises:
        DataError: When it is no whole number.
    """
    environment = os.environ if environment is None else environment
    return whole_number(environment, NAME) if NAME in environment else default


def whole_number(environment, name):
    """Returns the number that a variable says; raises a `DataError` when it says none."""
    try:
        return int(environment[name])
    except ValueError:
        raise DataError(f"{name} must be a whole number. Received: {environment[name]!r}") from None
