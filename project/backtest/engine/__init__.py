"""What a trade costs and how it is filled."""
