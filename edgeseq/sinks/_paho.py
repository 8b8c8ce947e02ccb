"""paho's MQTT client, with what it leaves out."""

from __future__ import annotations

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Client(paho.Client):
    """trouble: why the last attempt to connect failed, which paho itself tells nobody."""

    trouble = ""

    def reconnect(self) -> MQTTErrorCode:
        """Connect. Raises OSError; then paho's thread tries again."""
        try:
            return super().reconnect()
        except (OSError, ValueError) as cause:
            self.trouble = str(cause)
            # A name that is none is a ValueError, which would end that thread.
            raise OSError(str(cause)) from cause


def json_properties(*, correlation: str = "", expiry_s: int = 0, will: bool = False) -> Properties:
    """Return what MQTT 5 says of a message: that it is JSON, whom it belongs to, how long it is worth having."""
    properties = Properties(PacketTypes.WILLMESSAGE if will else PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1
    if correlation:
        properties.CorrelationData = correlation.encode("utf-8", "replace")
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    return properties
