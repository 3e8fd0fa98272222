"""Reads a LiteRT file without TensorFlow and without running it."""


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
