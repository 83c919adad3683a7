"""The causal expression language: parse, check, compile to Polars."""
