"""Is the data fresh, is a window unused, may trading go on: judgements on numbers and frames, without files or clock."""
