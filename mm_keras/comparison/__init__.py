"""Is fusion worth it? Each input alone, the fusions, and ensembles of the inputs, under the same folds and budget."""
