"""What each input, and each part of it, contributed to one prediction."""
