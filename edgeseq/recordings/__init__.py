"""Recorded data: files that are read as sources are, and files that are written whole or not at all."""
