"""Raw rows to a full 5-minute grid with explicit gaps."""
