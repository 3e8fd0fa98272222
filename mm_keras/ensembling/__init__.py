"""Several networks of one recipe, trained on different rows, made into one model."""
