"""The report of a run as pages that open from disk: figures are SVG made here, text is escaped, nothing is fetched."""
