"""Quantization: calibrated on free-running state, decided once as stored integers, held to a NumPy reference."""
