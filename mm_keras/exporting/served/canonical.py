"""Makes a SavedModel a function of the model alone: its names carry no counter and no random number."""

import hashlib
import re
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

_NUMBERED = re.compile(r"(.*)_(\d+)")
# The arguments of a loop's condition that it does not read are named after the function.
_REDUNDANT = re.compile(r"_\d+___redundant_placeholder")
# What fills a table is named after another counter.
_FILLER = re.compile(r"key_value_init\d+")


def make_canonical(path):
    """Rewrites `saved_model.pb` and `fingerprint.pb` of a folder, so that equal models give equal bytes.

    TensorFlow numbers functions with a counter of the process, names tables and fingerprints at random, and writes maps
    in any order. Functions keep the order of that counter and are numbered from 0.

    Args:
        path: A SavedModel's folder, just written.
    """
    file = Path(path) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta in saved.meta_graphs:
        new = _new_names(meta.graph_def.library)
        _rename_graph(meta.graph_def, new)
        _rename_objects(meta.object_graph_def, new)
    file.write_bytes(saved.SerializeToString(deterministic=True))
    _sign(Path(path))


def _new_names(library):
    found = [(m, f.signature.name) for f in library.function if (m := _NUMBERED.fullmatch(f.signature.name))]
    found.sort(key=lambda pair: int(pair[0][2]))
    return {name: f"{m[1]}_{i}" for i, (m, name) in enumerate(found)}


def _rename_graph(graph, new):
    for function in graph.library.function:
        signature = function.signature
        signature.name = new.get(signature.name, signature.name)
        for argument in signature.input_arg:
            argument.name = _REDUNDANT.sub("___redundant_placeholder", argument.name)
        for attributes in function.arg_attr.values():
            if attributes.attr["_user_specified_name"].s.isdigit():  # of a weight: a counter again
                del attributes.attr["_user_specified_name"]
    for owner in (graph, *graph.library.function):
        for node in owner.node_def if owner is not graph else graph.node:
            node.op = new.get(node.op, node.op)
            _rename_attributes(node.attr, new)
        if owner is not graph:
            _rename_attributes(owner.attr, new)
    _rename_tables(graph)
    for function in graph.library.function:
        if any(_FILLER.search(node.name) for node in function.node_def):
            _rename_fillers(function)
    functions = sorted(graph.library.function, key=lambda f: f.signature.name)
    del graph.library.function[:]
    graph.library.function.extend(functions)


def _rename_attributes(attributes, new):
    for value in attributes.values():
        for function in [value.func] if value.HasField("func") else value.list.func if value.HasField("list") else ():
            function.name = new.get(function.name, function.name)


def _rename_tables(graph):
    """Numbers the tables in the order of the graph: what two of them share by name, they would share in memory."""
    new = {}
    for owner in (graph.node, *(f.node_def for f in graph.library.function)):
        for node in owner:
            if node.op == "HashTableV2":
                shared = node.attr["shared_name"]
                shared.s = new.setdefault(shared.s, f"table_{len(new)}".encode())


def _rename_fillers(function):
    def plain(name):
        return _FILLER.sub("key_value_init", name)

    for argument in function.signature.input_arg:
        argument.name = plain(argument.name)
    function.signature.control_output[:] = [plain(name) for name in function.signature.control_output]
    for results in (function.ret, function.control_ret):
        renamed = {plain(key): plain(value) for key, value in results.items()}
        results.clear()
        results.update(renamed)
    for node in function.node_def:
        node.name = plain(node.name)
        node.input[:] = [plain(name) for name in node.input]


def _rename_objects(objects, new):
    for node in objects.nodes:
        if node.HasField("function"):
            node.function.concrete_functions[:] = [new.get(c, c) for c in node.function.concrete_functions]
        if node.HasField("bare_concrete_function"):
            name = node.bare_concrete_function.concrete_function_name
            node.bare_concrete_function.concrete_function_name = new.get(name, name)
    functions = {new.get(name, name): function for name, function in objects.concrete_functions.items()}
    copy = type(objects)()
    for name in sorted(functions):
        copy.concrete_functions[name].CopyFrom(functions[name])
    objects.concrete_functions.clear()
    objects.MergeFrom(copy)


def _sign(folder):
    """Writes the fingerprint anew, its random number taken from the content."""
    fingerprinting_utils.write_fingerprint(tf.compat.as_str(str(folder)))
    file = folder / "fingerprint.pb"
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(file.read_bytes())
    fingerprint.uuid = ""
    content = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
    fingerprint.uuid = str(int.from_bytes(content[:16], "big"))
    file.write_bytes(fingerprint.SerializeToString(deterministic=True))
