"""What an app needs beside the LiteRT files: tokenizers, the table of characters, and code that shows their use."""
