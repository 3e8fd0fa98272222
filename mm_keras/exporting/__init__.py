"""The SavedModel for TF Serving and the LiteRT files, each proven equal to the trained model."""
