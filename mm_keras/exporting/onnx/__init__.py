"""The ONNX file of the network alone."""
