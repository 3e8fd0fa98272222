"""A manifest and its files -> shards: TFRecord files with checksums, and a `dataset.json`; and training from them."""
