"""Stages of a model without a bundle: files by others, and the signal's way into and out of them."""
