"""Which inputs a model relies on, over a whole data set."""
