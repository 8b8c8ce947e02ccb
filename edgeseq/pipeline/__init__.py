"""The hot loop and what stands around it: the buffer before it, a lane for each stream, what is remembered."""

from edgeseq.pipeline.pipeline import MAX_STREAMS, Pipeline, Summary

__all__ = ["MAX_STREAMS", "Pipeline", "Summary"]
