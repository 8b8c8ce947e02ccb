"""Twelve speech commands, recognized in a stream of sound (Speech Commands, CC BY 4.0)."""
