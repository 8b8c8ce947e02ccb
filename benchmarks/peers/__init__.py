"""Others' runtimes on the same weights, each as one small class that keeps the state between its steps."""

from __future__ import annotations


class AbsentError(Exception):
    """A peer that is not installed; the message says how to get it."""
