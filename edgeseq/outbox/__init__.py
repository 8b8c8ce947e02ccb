"""The durable log between decider and sinks: what was put survives any crash until every sink has it."""

from edgeseq.outbox.outbox import New, Outbox, OutboxFull

__all__ = ["New", "Outbox", "OutboxFull"]
