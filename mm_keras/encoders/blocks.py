"""Where the blocks of a network begin and end, read from its graph."""

import re

import keras

STEM = re.compile(r".*?(?:block_?\d+[a-z]?(?:_\d+(?=_))?|expanded_conv(?:_\d+)?)")


def split_blocks(network, through_masks=False):
    """Returns the layers of a network block by block, in order.

    A block never ends inside a residual or a branch: it ends where one tensor alone goes on. It begins at a layer with
    a kernel; what has none, such as an activation, belongs to the block before. Layers whose names number the same
    block (`block5_conv1`, `block5_conv2`; `block_13_expand`, `block_13_project`) are one block.

    Args:
        network: A functional `keras.Model`.
        through_masks: Whether tensors that no weight has touched, such as a mask beside the tokens, may go on too.
            Defaults to `False`.

    Returns:
        List of lists of layers; those without a kernel before the first block are in the first.
    """
    layers = {layer.name: layer for layer in network.layers}
    blocks, stems = [], []
    # A plain model on the same layers: the configuration of a subclass need not hold its graph.
    operations = keras.Model(network.input, network.output).get_config()["layers"]
    free = _untouched(operations, layers) if through_masks else _inputs(operations)
    for names in _stretches(operations, free):
        members = [layers[n] for n in names if n in layers]
        kernels = _has_kernel(members)
        stem = next((m[0] for m in map(STEM.match, names) if m), None)
        if not blocks or (kernels and not (stem and stem == stems[-1]) and _has_kernel(blocks[-1])):
            blocks.append([])
            stems.append(stem)
        stems[-1] = stems[-1] or (stem if kernels else None)
        blocks[-1] += members
    return blocks


def _inputs(operations):
    return {o["name"] for o in operations if o["class_name"] == "InputLayer"}


def _untouched(operations, layers):
    """Returns the names of the operations that come from the inputs without a weight."""
    free = _inputs(operations)
    for operation in operations:
        name, sources = operation["name"], set(_sources(operation["inbound_nodes"]))
        if sources <= free and not (name in layers and layers[name].weights):
            free.add(name)
    return free


def _stretches(operations, free):
    """Yields the names between two places of the graph where a single tensor goes on; those of `free` do not count."""
    place = {o["name"]: i for i, o in enumerate(operations)}
    last_use = list(range(len(operations)))
    for i, operation in enumerate(operations):
        for source in _sources(operation["inbound_nodes"]):
            if source not in free:
                last_use[place[source]] = max(last_use[place[source]], i)
    names, open_until = [], 0
    for i, operation in enumerate(operations):
        names.append(operation["name"])
        if open_until <= i:
            yield names
            names = []
        open_until = max(open_until, last_use[i])


def _sources(node):
    """Yields the names of the operations whose tensors a serialised call takes."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            yield node["config"]["keras_history"][0]
        else:
            yield from (s for value in node.values() for s in _sources(value))
    elif isinstance(node, list | tuple):
        yield from (s for value in node for s in _sources(value))


def _has_kernel(layers):
    return any(len(w.shape) > 1 for layer in layers for w in layer.weights)
