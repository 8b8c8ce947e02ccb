"""Loaded models: what every step model does alike, and what is made of several."""
