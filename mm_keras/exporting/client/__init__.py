"""Calls of a served model."""
