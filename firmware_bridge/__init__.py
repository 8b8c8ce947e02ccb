"""The wire between a microcontroller and edgeseq: framing, messages, clocks; the microcontroller's side is in c/."""

from firmware_bridge.decoder import Decoder, Stats
from firmware_bridge.messages import (
    Ask,
    Counters,
    Hello,
    Log,
    Message,
    Ping,
    Pong,
    Rate,
    Samples,
    Start,
    Stop,
    encode,
)

__all__ = [
    "Ask",
    "Counters",
    "Decoder",
    "Hello",
    "Log",
    "Message",
    "Ping",
    "Pong",
    "Rate",
    "Samples",
    "Start",
    "Stats",
    "Stop",
    "encode",
]
