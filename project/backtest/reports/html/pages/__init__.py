"""The pages of a report, one module each: from results to what a template shows."""
