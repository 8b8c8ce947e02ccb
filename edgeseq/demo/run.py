"""One demo from start to end: broker, listener, the configured pipeline with one more sink that watches, the report."""

from __future__ import annotations

import platform
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import edgeseq
from edgeseq import config as configs
from edgeseq import machine, plugins, whole
from edgeseq.commands._common import stopped_by_signals
from edgeseq.config import Config
from edgeseq.demo.broker import HOST, Broker
from edgeseq.demo.listener import TOPICS, Listener
from edgeseq.demo.report import page
from edgeseq.demo.result import Result
from edgeseq.demo.scene import Scene
from edgeseq.demo.stage import Stage
from edgeseq.demo.watch import Watch
from edgeseq.demo.words import PERCENTILES, microseconds, step
from edgeseq.errors import ConfigError
from edgeseq.pipeline import Pipeline
from edgeseq.types import Sink

SECONDS = 40.0
"""How long the longest stream takes at speed 1."""
DELIVERY_S = 5.0


def run(scene: Scene, stage: Stage, *, speed: float | None, port: int | None, report: Path) -> Result:
    """Run a demo to its end and write its report.

    speed: times the usual pace; None for as fast as it goes. port: the broker's; None for a free one.
    Raises ConfigError, BundleError, ModelError, SourceError or SinkError, and KeyboardInterrupt where SIGINT or SIGTERM
    ended it.
    """
    config = _load(scene, speed)
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(port))
        listener = stack.enter_context(Listener(HOST, broker.port))
        watch = Watch(scene.story, stage.changed, stage.told)
        pipeline = config.pipeline(sinks=_sinks(config, broker.port), also=[watch])
        listen = f"mosquitto_sub -h {HOST} -p {broker.port} -t '{TOPICS}' -v"
        # A signal must not strike while the terminal is drawn on, which would then not be given back.
        with stopped_by_signals(pipeline):
            stage.opened(watch, listen, lambda: step(_step_us(pipeline)))
            summary = pipeline.run()
        if summary.stopped:
            raise KeyboardInterrupt
        delivered = listener.delivered(watch.sent, DELIVERY_S)
    result = Result(
        demo=scene.name,
        model=summary.model,
        model_version=watch.about.model_version,
        variant=pipeline.model.variant,
        backend=pipeline.model.backend,
        streams=summary.streams,
        frames=summary.frames,
        seconds=summary.seconds,
        alerts=watch.raised,
        sent=len(watch.sent),
        delivered=delivered,
        dropped=summary.dropped,
        step_us=_step_us(pipeline),
        score=scene.story.score(watch.tracks.values()),
        report=str(report),
    )
    whole.write(report, page(scene, watch, result, _facts(scene, config, pipeline)), "--report")
    return result


def check_report(report: Path) -> None:
    """Make the report's folder and see that the report can be written after the demo. Raises ConfigError."""
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise ConfigError(f"--report {report}: cannot be written: {cause.strerror or cause}.") from cause
    whole.check(report, "--report")


def _load(scene: Scene, speed: float | None) -> Config:
    """Read the demo's pipeline, which says nothing of pace: that depends on who watches."""
    config = configs.load(scene.pipeline)
    if speed is None:
        return config
    longest_s = max(track.frames for track in scene.tracks.values()) / config.frame.rate_hz
    return configs.load(scene.pipeline, source={"pace": longest_s / SECONDS * speed})


def _sinks(config: Config, port: int) -> list[Sink]:
    """Make the configured MQTT sinks, pointed at the demo's broker, which speaks MQTT 3.1.1."""
    ours = {"host": HOST, "port": port, "protocol": "3.1.1"}
    sinks: list[Sink] = [
        plugins.create(config.document, "sinks", {**table, **ours}, "sinks", index)
        for index, table in enumerate(config.sink_tables)
        if table["type"] == "mqtt"
    ]
    if not sinks:
        raise config.document.fail("a demo needs a sink of type 'mqtt'.", "sinks")
    return sinks


def _step_us(pipeline: Pipeline) -> dict[str, float | None]:
    """Return the step's percentiles, mean and longest so far, in microseconds."""
    timing = pipeline.timing
    percentiles = {f"p{percent}": timing.percentile_us(percent) for percent in PERCENTILES}
    return {**percentiles, "mean": timing.mean_us, "max": timing.max_ns / 1000 if timing.count else None}


def _facts(scene: Scene, config: Config, pipeline: Pipeline) -> list[tuple[str, str]]:
    """Return how the numbers came about, as pairs of words."""
    manifest, model = config.bundle.manifest, pipeline.model
    step_us = _step_us(pipeline)
    return [
        ("data", scene.source),
        ("model", f"{manifest.name} {manifest.version}, {model.variant} on {model.backend}, one thread"),
        ("bundle", f"sha256 {config.bundle.digest}"),
        ("step time", f"{step(step_us)}, mean {microseconds(step_us['mean'])}, longest {microseconds(step_us['max'])}"),
        ("device", f"{machine.cpu()}, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"),
        ("made", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by edgeseq {edgeseq.__version__}"),
    ]
