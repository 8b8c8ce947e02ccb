"""The durable log between decider and sinks: what was put survives any crash until every sink has it."""

from edgeseq.outbox.outbox import MIN_BYTES, New, Outbox, OutboxFull

__all__ = ["MIN_BYTES", "New", "Outbox", "OutboxFull"]
