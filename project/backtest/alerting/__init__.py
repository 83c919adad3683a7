"""Telling people: the only code that sends alerts."""
