"""Training from NumPy arrays, on a machine without TensorFlow: written with it, trained without, finished with it."""
