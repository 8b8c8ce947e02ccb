"""Runs of `edgeseq bench` read back, set against one another, and shown: as a table, as JSON, as a page."""
