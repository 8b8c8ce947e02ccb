"""Payloads against the published schema, which also must know every field that is sent."""

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA: dict[str, Any] = json.loads(files("edgeseq").joinpath("schema.json").read_text("utf-8"))


def kind_of(topic: str) -> str:
    """Return what kind of payload is sent under a topic."""
    return topic.rpartition("/")[2]


def validated(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return a payload that is as the schema says, and has no field that it does not know."""
    Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{kind}"}]}).validate(payload)
    unknown = set(payload) - set(SCHEMA["$defs"][kind]["properties"])
    assert not unknown, f"the schema of {kind} does not know {unknown}"
    return payload
