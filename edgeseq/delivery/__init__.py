"""The way of an event from the hot loop through the outbox to the sinks, on which none is lost."""

from edgeseq.delivery.delivery import Delivery

__all__ = ["Delivery"]
