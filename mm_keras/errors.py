"""The faults a user can cause, which the command line prints without a traceback, and those of served models."""


class RecipeError(ValueError):
    """A recipe that cannot be built: an unknown word, an impossible value, a name that cannot be served."""


class DataError(ValueError):
    """Data that does not fit the recipe: an absent column, too many bad rows, a file of the wrong kind."""


class ExportError(ValueError):
    """An export that is not equal to the trained model, or that a target cannot run."""


class Interrupted(RuntimeError):
    """A training that was asked to stop, by SIGTERM or Ctrl-C, and has left a checkpoint from which it can go on.

    On the command line it ends with exit code 75, "come again" (`EX_TEMPFAIL` of sysexits.h).
    """


class HostLost(RuntimeError):
    """A training on several processes that cannot go on, for one of them is gone.

    On the command line it ends with exit code 75, as `Interrupted`.
    """


class DataServerLost(HostLost):
    """A training that cannot go on, for a data server that makes its batches is gone or silent."""


class BackendError(ImportError):
    """Something that Keras's present backend cannot do, with the one that can."""


class ServingError(RuntimeError):
    """A call of a served model that failed; the subclasses say how.

    Args:
        message: What the server or the network said.
        code: The name of the gRPC status, or the number of the HTTP status, when there is one.
    """

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


class InvalidRequest(ServingError):
    """The server understood the request and refuses it: an unknown signature or input, a wrong shape or type."""


class ModelNotFound(ServingError):
    """The server does not serve this model, or not this version of it."""


class DeadlineExceeded(ServingError):
    """No answer in time, all attempts together."""


class ServerUnavailable(ServingError):
    """No server, or one that is too busy; the only fault that is tried again."""


class ServerFault(ServingError):
    """The server failed while it answered."""
