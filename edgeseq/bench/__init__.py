"""The latency of a bundle's step on this device. Each case is measured in a process of its own.

So its load time starts from nothing, its memory is its own, and no library's threads or caches reach into the next.
"""

from edgeseq.bench.case import Case, Measured, measure
from edgeseq.bench.device import device

__all__ = ["Case", "Measured", "device", "measure"]
