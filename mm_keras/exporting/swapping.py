"""Layers that compute otherwise while a graph of them is traced."""

from contextlib import contextmanager

_ABSENT = object()


@contextmanager
def swapped(layers, name, value):
    """While the block runs, an attribute or method of some layers is another; only what is traced inside changes.

    Args:
        layers: The layers.
        name: Of the attribute.
        value: `layer -> what stands there`.
    """
    layers = list(layers)
    before = [vars(layer).get(name, _ABSENT) for layer in layers]
    for layer in layers:
        setattr(layer, name, value(layer))
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is _ABSENT:
                delattr(layer, name)  # the class's shows again
            else:
                setattr(layer, name, own)
