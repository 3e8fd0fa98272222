"""The SavedModel that TF Serving runs: written, described for a server, called, and stood in for on this machine."""
