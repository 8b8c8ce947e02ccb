"""The step on edgeseq's own engine: kernels compiled once per machine, a program laid out over fixed buffers."""

from edgeseq.backends.native.step import NativeStep, library, open_step, open_whole

__all__ = ["NativeStep", "library", "open_step", "open_whole"]
