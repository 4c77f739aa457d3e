"""Where the two towers meet: rows are gathered and folded, measured and judged, reported and recorded."""
