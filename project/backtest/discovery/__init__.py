"""From events to candidates: forward returns, day scores, inference, multiplicity, gates."""
