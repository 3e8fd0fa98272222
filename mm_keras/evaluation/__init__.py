"""Scores with intervals, for all inputs and for every subset of them, and predictions as a table."""
