"""Occurrences of event types."""
