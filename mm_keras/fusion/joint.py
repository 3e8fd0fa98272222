"""What layers share that end in one joint embedding."""

from keras import layers


class JointEmbedding(layers.Layer):
    """The size of the joint embedding and its dropout, in the configuration and in the shape.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.
    """

    def __init__(self, units, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dropout = units, dropout

    def compute_output_shape(self, first_shape, *others):
        # With one name alone Keras passes the shape of the first argument, a dict by input, whatever it is called.
        return (next(iter(first_shape.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}


class EmbeddingFusion(JointEmbedding):
    """A fusion of embeddings, whose inputs have an order, and whose result passes a dropout.

    A fusion calls this `build` where its own layers leave room for the dropout: the order in which layers are made is
    the order of a seed's draws.
    """

    level = "embeddings"

    def build(self, embeddings_shape, present_shape=None):
        self.names = sorted(embeddings_shape)
        self.drop = layers.Dropout(self.dropout, dtype=self.dtype_policy, name="drop")
