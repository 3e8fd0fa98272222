"""Whether explanations are right: measured on the model itself, and on evidence whose place is known."""
