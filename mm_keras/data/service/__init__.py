"""Training batches that other processes read, decode and preprocess, by tf.data service."""
