"""Research platform for event-driven edges on crypto perpetuals."""
