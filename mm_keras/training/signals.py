"""SIGTERM and Ctrl-C in a training: it ends at the next batch, with a checkpoint."""

import contextlib
import signal
import threading

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether the process was asked to stop.

    Attributes:
        name: `"SIGTERM"` or `"SIGINT"` once it was, else an empty text.
    """

    def __init__(self):
        self.name = ""


@contextlib.contextmanager
def stop_requests(say=print):
    """Notes the first SIGTERM or SIGINT in place of ending; a second one does what it would have done.

    The handlers that were there come back at the end. Outside of the main thread, where Python sets no handlers, this
    does nothing. `jax.distributed` and multi-worker TensorFlow swallow SIGTERM from when they start, so this comes
    after them.

    Args:
        say: Called with a line when the first signal comes.

    Yields:
        A `StopRequest`.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    # What C++ has set cannot be put back; the default comes in its place.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in CAUGHT}

    def note(number, frame):
        request.name = signal.Signals(number).name
        _restore(before)
        say(f"{request.name}: stopping at the next batch, with a checkpoint; once more to stop at once")

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        _restore(before)


def _restore(handlers):
    for number, handler in handlers.items():
        signal.signal(number, handler)
