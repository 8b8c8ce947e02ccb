"""What Home Assistant is told, so that it shows a pipeline's streams by itself.

Source: Home Assistant, "MQTT", device discovery: one retained message a device, homeassistant/device/<id>/config, with
`dev` (device), `o` (origin) and `cmps` (components), each with its platform `p`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgeseq.sinks import _topic
from edgeseq.types import About

MAX_STREAMS = 64
"""So many streams are announced; what is beyond them is published like any other."""
_EVENT = (
    "{{ {'event_type': value_json.kind, 'level': value_json.level, 'score': value_json.score, "
    "'alert': value_json.alert, 'event_id': value_json.event_id} | to_json }}"
)


def topic(about: About) -> str:
    """Return the topic of the message."""
    return f"homeassistant/device/{_topic.client_id(about.device, about.pipeline)}/config"


def config(about: About, version: str, streams: Iterable[str]) -> dict[str, Any]:
    """Return the message. version: edgeseq's. Each stream is a score, a problem that is or is not, and its events."""
    ours = _topic.client_id(about.device, about.pipeline)
    components: dict[str, Any] = {}
    for stream in streams:
        for component in _components(about, stream):
            identity = f"{ours}-{_topic.plain(stream)}-{component['p']}"
            components[identity] = {**component, "unique_id": identity}
    device = {"ids": [ours], "name": f"{about.device} {about.pipeline}", "mf": "edgeseq"}
    return {
        "dev": {**device, "mdl": about.model or "edgeseq", "sw": about.model_version or version},
        "o": {"name": "edgeseq", "sw": version},
        "cmps": components,
        "availability_topic": _topic.status(about.device),
        "availability_template": "{{ value_json.status }}",
        "qos": 1,
    }


def _components(about: About, stream: str) -> Iterable[dict[str, Any]]:
    state = _topic.stream(about.device, about.pipeline, stream, "state")
    score = about.names[about.score] if about.score < len(about.names) else "score"
    unit = {"unit_of_measurement": about.unit} if about.unit else {}
    yield {
        "p": "sensor",
        "name": f"{stream} {score}".strip(),
        "state_topic": state,
        "value_template": "{{ value_json.score }}",
        "state_class": "measurement",
        **unit,
    }
    yield {
        "p": "binary_sensor",
        "name": f"{stream} alert".strip(),
        "state_topic": state,
        "device_class": "problem",
        "value_template": "{{ 'OFF' if value_json.level == 'ok' else 'ON' }}",
        "json_attributes_topic": state,
    }
    yield {
        "p": "event",
        "name": f"{stream} event".strip(),
        "state_topic": _topic.stream(about.device, about.pipeline, stream, "event"),
        "event_types": ["raised", "updated", "cleared"],
        "value_template": _EVENT,
    }
