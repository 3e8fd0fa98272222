"""The reference model of image, text, audio and table, as one would write it by hand: Keras, PyTorch, tf.data."""
