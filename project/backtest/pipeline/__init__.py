"""Stages, their graph, and the runner."""
