"""How far a model's confidence can be trusted: measured, drawn, and fitted anew."""
