"""The data root: the only code that opens it."""
