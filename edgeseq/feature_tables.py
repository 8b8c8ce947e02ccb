"""[stream] and [[features]] -> a feature chain, checked link by link before a sample is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeseq import plugins, tables
from edgeseq.bundle import Bundle
from edgeseq.checksums import sha256
from edgeseq.errors import ConfigError
from edgeseq.types import Feature, StreamSpec

MAX_VALUES = 1 << 20
"""Of a frame: beyond it a mistake is more likely than a use."""


@dataclass(frozen=True)
class FeatureTables:
    """A chain as it is declared. document: where [stream] and [[features]] stand. tables: those of [[features]]."""

    document: tables.Document
    stream: StreamSpec
    tables: Sequence[Mapping[str, Any]]

    def open(self) -> tuple[list[Feature], list[StreamSpec]]:
        """Make one stream's chain and open it; return it, and the stream's spec with what each link gives behind it.

        Raises the document's error, which names table and key, where a link does not fit what comes before it.
        """
        self._check(self.stream, "[stream]", "stream")
        chain: list[Feature] = []
        specs = [self.stream]
        for index, table in enumerate(self.tables):
            where = ("features", index)
            feature: Feature = plugins.create(self.document, "features", dict(table), *where)
            try:
                spec = feature.open(specs[-1])
            except ConfigError as cause:
                raise self.document.fail(str(cause), *where, *cause.keys) from cause
            self._check(spec, self.name(index), *where)
            chain.append(feature)
            specs.append(spec)
        return chain, specs

    def name(self, index: int) -> str:
        """Return what a link is called in messages."""
        return f"features[{index}] ({self.tables[index].get('type')})"

    def files(self) -> dict[tuple[int, str], Path]:
        """Return the files that links are made from (tokenizers), by link and key. Raises the document's error."""
        found: dict[tuple[int, str], Path] = {}
        for index, table in enumerate(self.tables):
            _, parameters = plugins.resolve(self.document, "features", dict(table), "features", index)
            found |= {(index, key): value for key, value in parameters.items() if isinstance(value, Path)}
        return found

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of stream and chain: two that differ in it may give different frames.

        Numbers count as such, 1 as 1.0; keys in any order; files by what is in them.
        """
        channels = [[channel.name, channel.unit] for channel in self.stream.channels]
        links = [dict(table) for table in self.tables]
        for (index, key), path in self.files().items():
            links[index][key] = sha256(path)
        told = [channels, self.stream.rate_hz, links]
        text = json.dumps(_plain(told), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _check(self, spec: StreamSpec, whose: str, *where: str | int) -> None:
        """Refuse what nothing behind it could work with."""
        problem = None
        if not (spec.rate_hz > 0 and math.isfinite(spec.rate_hz)):
            problem = f"{whose} comes at {spec.rate_hz:g} Hz; a rate is above 0."
        elif not spec.channels:
            problem = f"{whose} has no channel."
        elif len(spec.channels) > MAX_VALUES:
            problem = f"{whose} gives {len(spec.channels):,} values a frame; {MAX_VALUES:,} is the most."
        elif twice := [name for name, count in Counter(spec.names).items() if count > 1]:
            problem = f"{whose} has two channels called '{twice[0]}'; what follows could not tell them apart."
        if problem:
            raise self.document.fail(problem, *where)


def of_bundle(bundle: Bundle) -> FeatureTables:
    """Return a bundle's chain. Raises BundleError where a link is made from a file that is no part of the bundle."""
    chain = FeatureTables(bundle.document, bundle.manifest.stream.spec(), bundle.manifest.features)
    for (index, key), path in chain.files().items():
        # Whatever else lies in a bundle's folder was refused when its sums were checked.
        if path.parent != bundle.path or not path.is_file():
            raise bundle.document.fail(f"{path} is no file of the bundle. Export it again.", "features", index, key)
    return chain


def columns(document: tables.Document, have: StreamSpec, wanted: StreamSpec, where: str) -> list[int]:
    """Return where in a source's channels each one that is wanted stands. where: who wants them.

    Raises the document's error, at [source], for a channel that is missing, another unit and another rate.
    """
    places = []
    for channel in wanted.channels:
        if channel.name not in have.names:
            near = tables.suggest(channel.name, have.names)
            raise document.fail(f"{where} needs a channel '{channel.name}', the source has none. {near}", "source")
        index = have.names.index(channel.name)
        unit = have.channels[index].unit
        if unit and channel.unit and unit != channel.unit:
            raise document.fail(f"the channel '{channel.name}' is in {unit}, {where} takes {channel.unit}.", "source")
        places.append(index)
    if not math.isclose(have.rate_hz, wanted.rate_hz, rel_tol=1e-6):
        raise document.fail(f"samples come at {have.rate_hz:g} Hz, {where} takes {wanted.rate_hz:g} Hz.", "source")
    return places


def _plain(value: Any) -> Any:
    """Return a value with its whole numbers as floats: in TOML both stand for the same parameter."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
