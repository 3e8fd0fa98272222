"""One self-contained page about a run, and its model card."""
