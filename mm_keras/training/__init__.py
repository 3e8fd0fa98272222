"""Fitting a recipe to data, and the run folder that holds all of it."""
