"""Built-in data sets: written as plain files with a manifest, as a user would have them."""
