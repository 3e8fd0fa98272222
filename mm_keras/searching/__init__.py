"""Search over the fields of a recipe; see `search.py`."""
