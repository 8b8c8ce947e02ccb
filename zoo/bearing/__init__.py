"""Remaining life of rolling bearings from raw vibration: recipe, bundle and numbers."""
