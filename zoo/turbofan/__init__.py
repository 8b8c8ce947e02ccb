"""Remaining useful life of turbofan engines, one flight cycle at a time (NASA C-MAPSS)."""
