"""Numbers known at a bar's close."""
