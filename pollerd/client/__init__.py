"""pollerd from Python: hand over, wait, follow. Works with and without a running daemon."""
