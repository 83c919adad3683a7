"""One module a stage; found by scanning."""
