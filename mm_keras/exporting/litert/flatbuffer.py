"""Reads and joins LiteRT files without TensorFlow and without running them."""

import numpy as np


def litert_ops(blob):
    """Returns the set of op names in a LiteRT flatbuffer; custom ones as `"CUSTOM:<name>"`."""
    from ai_edge_litert import schema_py_generated as schema

    builtin = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    model, names = schema.Model.GetRootAsModel(blob, 0), []
    for i in range(model.OperatorCodesLength()):
        op = model.OperatorCodes(i)
        code = max(op.BuiltinCode(), op.DeprecatedBuiltinCode())  # numbers above 127 stand in the first only
        custom = code == schema.BuiltinOperator.CUSTOM
        names.append("CUSTOM:" + op.CustomCode().decode() if custom else builtin[code])
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    return {names[g.Operators(j).OpcodeIndex()] for g in graphs for j in range(g.OperatorsLength())}


def join_signature(blob, front, key):
    """Adds a signature to a model: first what another model computes, then, on its outputs, the model itself.

    The weights, and all else of the model that both signatures need, are stored once. Where the model takes integers, a
    QUANTIZE op stands between. The names of inner tensors, which nothing reads, are left out.

    Args:
        blob: Bytes of a LiteRT file with the signature `serving_default`.
        front: Bytes of another, whose outputs are named as the inputs of the first; one graph.
        key: Name of the new signature.

    Returns:
        Bytes of the joined file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model, first = (schema.ModelT.InitFromPackedBuf(b, 0) for b in (blob, front))
    main = next(s for s in model.signatureDefs if s.signatureKey == b"serving_default")
    inner, outer = model.subgraphs[main.subgraphIndex], first.subgraphs[0]
    codes, buffers = len(model.operatorCodes), len(model.buffers)
    model.operatorCodes += first.operatorCodes
    model.buffers += first.buffers
    tensors, operators = list(inner.tensors), list(outer.operators)
    places = {i: len(tensors) + i for i in range(len(outer.tensors))}
    for tensor in outer.tensors:
        tensor.buffer = tensor.buffer + buffers if tensor.buffer else 0  # 0 is the empty one, of all tensors without
        tensors.append(tensor)
    bridges, wanted = [], {t.name: t.tensorIndex for t in main.inputs}
    for output in first.signatureDefs[0].outputs:
        source, target = output.tensorIndex, wanted[output.name]
        if outer.tensors[source].type == inner.tensors[target].type:
            places[source] = target
        else:
            bridges.append(_quantize(schema, places[source], target, len(model.operatorCodes)))
    if bridges:
        model.operatorCodes.append(_quantize_code(schema))
    for operator in operators:
        operator.opcodeIndex += codes
        operator.inputs = [places.get(i, i) for i in operator.inputs]  # -1 is an input that is left out
        operator.outputs = [places[i] for i in operator.outputs]
    joined = schema.SubGraphT()
    joined.name = key
    joined.tensors = tensors
    joined.operators = [*operators, *bridges, *inner.operators]
    joined.inputs = [places[i] for i in outer.inputs]
    joined.outputs = list(inner.outputs)
    model.subgraphs.append(joined)
    model.signatureDefs.append(_signature(schema, first.signatureDefs[0].inputs, main.outputs, places, key, model))
    return _pack(schema, model)


def _signature(schema, inputs, outputs, places, key, model):
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, len(model.subgraphs) - 1
    signature.inputs = [_named(schema, t.name, places[t.tensorIndex]) for t in inputs]
    signature.outputs = [_named(schema, t.name, t.tensorIndex) for t in outputs]
    return signature


def _named(schema, name, place):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, place
    return entry


def _quantize_code(schema):
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
    return code


def _quantize(schema, source, target, code):
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [source], [target]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.QuantizeOptions,
        schema.QuantizeOptionsT(),
    )
    return operator


class _Once:
    """Something that is written the first time and pointed at afterwards."""

    def __init__(self, thing):
        self.thing, self.offset = thing, None

    def Pack(self, builder):
        if self.offset is None:
            self.offset = self.thing.Pack(builder)
        return self.offset


class _Aligned:
    """A buffer at a multiple of 16 bytes, as the schema demands and its Python classes forget."""

    def __init__(self, schema, buffer):
        self.schema, self.data = schema, buffer.data

    def Pack(self, builder):
        if self.data is not None and len(self.data):
            data = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(data), 16)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            data = builder.EndVector()
            self.schema.BufferStart(builder)
            self.schema.BufferAddData(builder, data)
        else:
            self.schema.BufferStart(builder)
        return self.schema.BufferEnd(builder)


def _pack(schema, model):
    import flatbuffers

    shared = {}

    def once(thing):
        return shared.setdefault(id(thing), _Once(thing))

    ends = {i for g in model.subgraphs for i in (*g.inputs, *g.outputs)}
    for graph in model.subgraphs:
        for i, tensor in enumerate(graph.tensors):
            tensor.name = tensor.name if i in ends else None
            if tensor.shapeSignature is not None and min(tensor.shapeSignature, default=0) >= 0:
                tensor.shapeSignature = None  # says the shape again, but for axes of any length
        graph.tensors, graph.operators = ([once(x) for x in things] for things in (graph.tensors, graph.operators))
    model.buffers = [_Aligned(schema, b) for b in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
