"""Processes that work for another one."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h."""


def end_with_parent() -> None:
    """Let this process be killed when the one that started it ends, however: nobody waits for its work any more."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
