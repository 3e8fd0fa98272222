"""Leak and sanity checks of loaded rows, before anything is trained on them."""
