"""Market states that condition an event."""
