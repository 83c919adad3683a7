"""Blueprints: what a candidate becomes before it is traded."""
