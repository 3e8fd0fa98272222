"""From a table of files to batches: manifests, splits, quarantine, and the one tf.data chain."""
