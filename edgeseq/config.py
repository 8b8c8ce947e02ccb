"""TOML -> a checked pipeline. Everything that can be wrong is found here, before a model or a port is opened.

name = "turbofan"                 # the pipeline's name
device = "press-4"                # default: this host's name
max_streams = 1024                # default
duty_cycle_s = 600                # default: the bundle's; a record of samples begins so often, the pause is no gap
silent_after_s = 30               # default for what is measured now: an alert where nothing comes for so long

[buffer]                          # between source and model
samples = 4096
when_full = "drop-oldest"         # default for what is measured now; what can be read again always waits

[source]
type = "csv"                      # edgeseq/sources/csv.py; its parameters are the keys
path = "data.csv"                 # relative to this file

[model]
bundle = "turbofan.bundle"        # brings the stream, the feature chain and a decider
variant = "auto"
backend = "auto"                  # or, in place of [model], stages of files by others: [[model]], see wiring.py

[decider]                         # default: the bundle's own
type = "hysteresis"

[[sinks]]                         # default: stdout
type = "mqtt"

[service]                         # default: see service/settings.py
[checkpoint]                      # default: see service/checkpoint_table.py
interval_s = 30

[outbox]                          # default: see service/outbox_table.py
path = "outbox"
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeseq import backends, feature_tables, plugins, tables
from edgeseq import bundle as bundles
from edgeseq.bundle import Bundle
from edgeseq.errors import BundleError
from edgeseq.gaps import ALL_GAPS, Gaps
from edgeseq.models import loading
from edgeseq.pipeline import MAX_STREAMS, Pipeline
from edgeseq.pipeline.buffer import WhenFull
from edgeseq.service import checkpoint_table, credentials, outbox_table, settings, written
from edgeseq.service.checkpoint_table import CheckpointTable
from edgeseq.service.outbox_table import OutboxTable
from edgeseq.service.settings import Settings
from edgeseq.types import About, Decider, Feature, Live, Replayable, Sink, Source, StepModel, StreamSpec
from edgeseq.verification import first_load
from edgeseq.wiring import OutputTable, Wired, wire

MAX_NAME = 200
SILENT_S = 30.0
"""Where the configuration does not say, a live source is silent after this time, three samples and two records."""


class _ModelTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[model]."""

    bundle: str
    variant: str = "auto"
    backend: str = "auto"


class _BufferTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[buffer]: what waits between source and model, see edgeseq/pipeline/buffer.py."""

    samples: int | None = None
    when_full: WhenFull | None = None


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration as a whole."""

    name: str
    device: str = ""
    source: dict[str, Any]
    model: _ModelTable | list[dict[str, Any]]
    output: OutputTable | None = None
    decider: dict[str, Any] | None = None
    sinks: list[dict[str, Any]] | None = None
    max_streams: int = MAX_STREAMS
    service: dict[str, Any] | None = None
    buffer: _BufferTable = _BufferTable()
    duty_cycle_s: float | None = None
    silent_after_s: float | None = None
    checkpoint: CheckpointTable = CheckpointTable()
    outbox: OutboxTable = OutboxTable()


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration. Its source and sinks are made, but nothing is opened.

    trained: the model, a bundle or stages by others; variant, backend: which of the bundle's. source_table,
    sink_tables, decider_table: the tables behind them, with what the bundle filled in. columns: which of the source's
    channels the features take; frame: the spec of what the model takes. service: how systemd is to run it. checkpoint:
    where states are kept; None for nowhere. The rest is as the pipeline takes it.
    """

    document: tables.Document
    about: About
    trained: Bundle | Wired
    variant: str
    backend: str
    source: Source
    sinks: Sequence[Sink]
    source_table: Mapping[str, Any]
    sink_tables: Sequence[Mapping[str, Any]]
    decider_table: Mapping[str, Any] | None
    decider_from_bundle: bool
    columns: Sequence[int]
    frame: StreamSpec
    max_streams: int
    service: Settings
    gaps: Gaps
    buffer_samples: int | None
    when_full: WhenFull
    silent_after_s: float | None
    checkpoint: Path | None
    checkpoint_interval_s: float
    outbox: OutboxTable

    @property
    def bundle(self) -> Bundle:
        """The bundle. Raises ConfigError where the model is none."""
        if isinstance(self.trained, Wired):
            raise self.document.fail("the model is stages, not a bundle.", "model")
        return self.trained

    def features(self) -> list[Feature]:
        """Make one stream's feature chain, opened; stages take samples as they come."""
        return [] if isinstance(self.trained, Wired) else feature_tables.of_bundle(self.trained).open()[0]

    def decider(self) -> Decider:
        """Make one stream's decider. Raises ConfigError where there is none to make."""
        if self.decider_table is None:
            raise self.document.fail("there is no decider: neither here nor in the bundle.")
        document = self.bundle.document if self.decider_from_bundle else self.document
        made: Decider = plugins.decider(document, dict(self.decider_table), self.about.names, "decider")
        return made

    def pipeline(self, *, sinks: Sequence[Sink] | None = None, also: Sequence[Sink] = ()) -> Pipeline:
        """Load the model and put the pipeline together; it uses up the source and sinks, so it is made once.

        sinks: these instead of the configured ones. also: these beside them. Raises ModelError or BundleError.
        """
        model, gap_states = self._load()
        return Pipeline(
            source=self.source,
            model=model,
            sinks=[*(self.sinks if sinks is None else sinks), *also],
            about=self.about,
            features=self.features,
            decider=self.decider if self.decider_table is not None else None,
            gap_states=gap_states,
            columns=self.columns,
            max_streams=self.max_streams,
            gaps=self.gaps,
            max_frames=None if isinstance(self.trained, Wired) else self.trained.graph().max_steps,
            buffer_samples=self.buffer_samples,
            when_full=self.when_full,
            silent_after_s=self.silent_after_s,
        )

    def _load(self) -> tuple[StepModel, Collection[str] | None]:
        """Return the step model and the states that a gap resets; None for all, since no signal runs over a gap."""
        if isinstance(self.trained, Wired):
            return self.trained.chain.fork(), None
        first_load.check_features(self.trained)
        model = loading.step(self.trained, self.backend, self.variant)
        states = self.trained.graph().states
        on_gap = {state.name for state in states if state.reset == "gap"}
        return model, None if states and len(on_gap) == len(states) else on_gap


def load(path: Path | str, *, source: Mapping[str, Any] | None = None) -> Config:
    """Read and check a configuration.

    source: keys that replace those of its [source] table; where they change its type, keys that the new type does not
    know are left out. Their paths, too, are relative to the configuration. Raises ConfigError for the configuration,
    BundleError for the bundle it names.
    """
    document = tables.read(Path(path))
    table = tables.convert(document, document.table, _Table)
    for key, name in (("name", table.name), ("device", table.device)):
        if len(name) > MAX_NAME or (key in document.table and not name.strip()):
            raise document.fail(f"must be 1 to {MAX_NAME} characters.", key)
    if table.max_streams < 1:
        raise document.fail("must be at least 1.", "max_streams")
    if table.buffer.samples is not None and table.buffer.samples < 1:
        raise document.fail("must be at least 1.", "buffer", "samples")
    for key, seconds in (("duty_cycle_s", table.duty_cycle_s), ("silent_after_s", table.silent_after_s)):
        if seconds is not None and not 0 < seconds < math.inf:
            raise document.fail(f"must be above 0, not {seconds:g}.", key)
    outbox_table.check(document, table.outbox)
    source_table = _replaced(table.source, source or {})
    if isinstance(table.model, list):
        config = _with_stages(document, table, table.model, source_table)
    elif table.output is not None:
        raise document.fail("the bundle says what its output is; [output] belongs to [[model]].", "output")
    else:
        config = _with_bundle(document, table, table.model, source_table)
    written.check(config)
    return config


def _with_bundle(document: tables.Document, table: _Table, model: _ModelTable, source_table: dict[str, Any]) -> Config:
    """Check a configuration whose model is a bundle."""
    bundle = _bundle(document, model)
    manifest, wanted = bundle.manifest, bundle.manifest.stream.spec()
    frame = feature_tables.of_bundle(bundle).open()[1][-1]
    _check_frame(bundle, frame)
    offered = {
        "channels": [{"name": channel.name, "unit": channel.unit} for channel in wanted.channels],
        "rate_hz": wanted.rate_hz,
    }
    source_table = plugins.offered(document, "sources", source_table, offered, "source")
    source: Source = plugins.create(document, "sources", credentials.given(source_table, "source"), "source")
    about = About(
        device=table.device or socket.gethostname() or "device",
        pipeline=table.name,
        model=manifest.name,
        model_version=manifest.version,
        names=tuple(manifest.output.names),
        unit=manifest.output.unit,
    )
    columns = feature_tables.columns(document, source.spec, wanted, f"the model {manifest.name}")
    config = _config(document, table, bundle, about, source=(source, source_table), columns=columns, frame=frame)
    return dataclasses.replace(config, variant=model.variant, backend=model.backend)


def _with_stages(
    document: tables.Document, table: _Table, stages: Sequence[Mapping[str, Any]], source_table: dict[str, Any]
) -> Config:
    """Check a configuration whose model is stages: they take the source's samples, all channels, as they come."""
    source: Source = plugins.create(document, "sources", credentials.given(source_table, "source"), "source")
    spec = source.spec
    wired = wire(document, stages, table.output, len(spec.channels))
    if wired.chain.signal and table.decider is not None:
        raise document.fail("the model's result is a signal; a decider judges scores.", "decider")
    about = About(
        device=table.device or socket.gethostname() or "device",
        pipeline=table.name,
        model=wired.model,
        model_version=wired.version,
        names=wired.names,
        unit=wired.unit,
        signal_hz=spec.rate_hz if wired.chain.signal else None,
    )
    columns = range(len(spec.channels))
    return _config(document, table, wired, about, source=(source, source_table), columns=columns, frame=spec)


def _config(
    document: tables.Document,
    table: _Table,
    trained: Bundle | Wired,
    about: About,
    *,
    source: tuple[Source, Mapping[str, Any]],
    columns: Sequence[int],
    frame: StreamSpec,
) -> Config:
    """Check the sinks and the decider, and put it all together."""
    gaps = trained.manifest.stream.gaps() if isinstance(trained, Bundle) else ALL_GAPS
    gaps = gaps if table.duty_cycle_s is None else dataclasses.replace(gaps, duty_cycle_s=table.duty_cycle_s)
    when_full, silent_s = _arriving(table, source[0], gaps)
    sink_tables = [{"type": "stdout"}] if table.sinks is None else table.sinks
    from_bundle = table.decider is None and isinstance(trained, Bundle)
    decider_table = trained.manifest.decider if from_bundle and isinstance(trained, Bundle) else table.decider
    config = Config(
        document=document,
        about=about,
        trained=trained,
        variant="auto",
        backend="auto",
        source=source[0],
        sinks=[
            plugins.create(document, "sinks", credentials.given(sink, f"sinks.{i}"), "sinks", i)
            for i, sink in enumerate(sink_tables)
        ],
        source_table=source[1],
        sink_tables=sink_tables,
        decider_table=decider_table,
        decider_from_bundle=from_bundle,
        columns=columns,
        frame=frame,
        max_streams=table.max_streams,
        service=settings.read(document, table.service),
        gaps=gaps,
        buffer_samples=table.buffer.samples,
        when_full=when_full,
        silent_after_s=silent_s,
        checkpoint=checkpoint_table.place(document, table.checkpoint),
        checkpoint_interval_s=table.checkpoint.interval_s,
        outbox=table.outbox,
    )
    return config if decider_table is None else _with_score(config)


def _arriving(table: _Table, source: Source, gaps: Gaps) -> tuple[WhenFull, float | None]:
    """Return what happens when the buffer is full, and after how many seconds a stream is silent.

    What can be read again, a replay above all, waits and is never silent: the same data give the same, however quickly.
    """
    if isinstance(source, Replayable) and source.replays:
        return "block", None
    if not (isinstance(source, Live) and source.live):
        return table.buffer.when_full or "block", table.silent_after_s
    usual = max(SILENT_S, 3 / source.spec.rate_hz, 2 * (gaps.duty_cycle_s or 0))
    return table.buffer.when_full or "drop-oldest", table.silent_after_s or usual


def _replaced(table: dict[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return the source's table with other keys, and without those that only its former type knows."""
    if by.get("type", table.get("type")) != table.get("type"):
        known = inspect.signature(plugins.find("sources", by["type"])).parameters
        table = {key: value for key, value in table.items() if key in known}
    return {**table, **by}


def _bundle(document: tables.Document, model: _ModelTable) -> Bundle:
    """Read the bundle and check that it has the variant asked for."""
    try:
        path = tables.path(document.path.parent, model.bundle)
    except ValueError as cause:
        raise document.fail(f"{cause}.", "model", "bundle") from cause
    if not path.exists():
        raise document.fail(f"there is no bundle at {path}.", "model", "bundle")
    bundle = bundles.read(path)
    variants = {"auto", *(file.variant for file in bundle.manifest.files)}
    known = {"auto", *backends.FORMATS}
    if model.variant not in variants:
        near = tables.suggest(model.variant, variants)
        raise document.fail(f"the bundle has no variant '{model.variant}'. {near}", "model", "variant")
    if model.backend not in known:
        near = tables.suggest(model.backend, known)
        raise document.fail(f"there is no backend '{model.backend}'. {near}", "model", "backend")
    return bundle


def _check_frame(bundle: Bundle, frame: StreamSpec) -> None:
    """Compare what the chain gives with what a one-graph, one-input model takes, its frames laid out in any order."""
    graph = bundle.manifest.graphs[0]
    if len(bundle.manifest.graphs) == 1:
        takes = sum(graph.widths)
        if takes != len(frame.channels):
            raise BundleError(
                f"{bundle.path}: its feature chain gives {len(frame.channels)} values a frame, its model takes "
                f"{takes}. Export it again."
            )


def _with_score(config: Config) -> Config:
    """Make the decider once, so that what is wrong about it is found now, and note which output it looks at."""
    score = getattr(config.decider(), "output", 0)
    return dataclasses.replace(config, about=dataclasses.replace(config.about, score=score))
