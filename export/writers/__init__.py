"""Writes a step as files that other runtimes load: one file a format."""
