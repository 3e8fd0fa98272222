"""LiteRT files for phones: the forms a network takes, conversion, what a device gives, what an app is handed."""
