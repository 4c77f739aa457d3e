"""Mergeable summaries of rows: what to keep of a table, and what was kept."""
