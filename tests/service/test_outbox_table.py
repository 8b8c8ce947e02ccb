"""[outbox]: where events wait, what is refused, and which sinks stand behind it."""

import dataclasses
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_bundle

from edgeseq import config as configs
from edgeseq.commands import check
from edgeseq.config import Config
from edgeseq.errors import ConfigError, SinkError
from edgeseq.outbox import Outbox
from edgeseq.service import outbox_table
from edgeseq.sinks.stdout import Stdout
from edgeseq.types import About

CONFIG = """\
name = "we/ar"
[source]
type = "csv"
path = "data.csv"
[model]
bundle = "bundle"
[decider]
type = "hysteresis"
direction = "below"
warning = 40
"""
SINKS = '[[sinks]]\ntype = "mqtt"\n[[sinks]]\ntype = "stdout"\n[[sinks]]\ntype = "sqlite"\npath = "events.db"\n'
SECOND = '[[sinks]]\ntype = "sqlite"\npath = "more.db"\n'
Load = Callable[[str], Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    tiny_bundle.write(tmp_path / "bundle")
    (tmp_path / "data.csv").write_text("life\n50\n30\n10\n")

    def load(rest: str) -> Config:
        (tmp_path / "pipeline.toml").write_text(CONFIG + rest)
        return configs.load(tmp_path / "pipeline.toml")

    return load


def test_where_events_wait(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    ours = Path(os.environ["XDG_STATE_HOME"]) / "edgeseq"
    assert outbox_table.place(load(SINKS)) == ours / "we_ar-61eaafeb" / "outbox"
    config = load(SINKS)
    for name in ("..", ".", "ä" * 200, "we.ar"):
        place = outbox_table.place(dataclasses.replace(config, about=dataclasses.replace(config.about, pipeline=name)))
        assert place.parent.parent == ours
        assert ours in place.resolve().parents
        assert len(place.parent.name.encode()) <= 255
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "/nobody")
    assert outbox_table.place(load(SINKS)) == Path("/nobody/.local/state/edgeseq/we_ar-61eaafeb/outbox")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert outbox_table.place(load(SINKS)) == Path("/var/lib/a/outbox")
    assert outbox_table.place(load(SINKS + '[outbox]\npath = "here"\n')) == tmp_path / "here"


def test_a_user_without_a_home_is_asked_for_a_folder(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    config = load(SINKS)
    with pytest.raises(ConfigError, match=r"pipeline\.toml: this user has no home folder .*path in \[outbox\]"):
        check.describe(config)
    assert outbox_table.place(load(SINKS + '[outbox]\npath = "here"\n')).name == "here"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("max_events = 0", "max_events: must be at least 1"),
        ("max_bytes = 1000", "max_bytes: must be at least 4096"),
        ("max_age_s = 0.0", "max_age_s: must be above 0"),
        ("max_age_s = nan", "max_age_s: must be above 0"),
        ("max_event = 5", "max_events"),
        ('path = "a\\u0000b"', "path"),
    ],
)
def test_what_is_refused(load: Load, keys: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(f"{SINKS}[outbox]\n{keys}\n")


def test_only_sinks_that_deliver_stand_behind_it(load: Load, tmp_path: Path) -> None:
    config = load(SINKS + SECOND + f'[outbox]\npath = "{tmp_path / "outbox"}"\nmax_events = 7\n')
    sinks, delivery = outbox_table.behind(config, config.sinks)
    assert delivery is not None
    assert sinks[0] is delivery
    assert [type(sink) for sink in sinks[1:]] == [Stdout]
    delivery.open(About("device", "we/ar"))
    with pytest.raises(SinkError, match="in use by another process"):
        Outbox(tmp_path / "outbox")
    delivery.close()
    outbox = Outbox(tmp_path / "outbox", ["mqtt", "sqlite", "sqlite-2"])
    assert outbox.stats()["pending"] == {"mqtt": 0, "sqlite": 0, "sqlite-2": 0}
    outbox.close()
    fewer = load(SINKS.replace('type = "mqtt"', 'type = "stdout"') + SECOND)
    _, delivery = outbox_table.behind(fewer, fewer.sinks)
    assert delivery is not None
    assert list(delivery._sinks) == ["sqlite", "sqlite-2"], "what is owed is owed still"
    assert any(
        "keeps events in" in sentence and "up to 7 and 1,074 MB" in sentence for sentence in check.describe(config)
    )


def test_a_file_in_its_place_is_found_before_it_runs(load: Load) -> None:
    config = load(SINKS + '[outbox]\npath = "data.csv/outbox"\n')
    with pytest.raises(ConfigError, match=r"data\.csv is no folder"):
        check.describe(config)


def test_without_such_a_sink_there_is_none(load: Load) -> None:
    config = load('[[sinks]]\ntype = "stdout"\n')
    assert outbox_table.behind(config, config.sinks) == (config.sinks, None)
    assert not any("keeps events in" in sentence for sentence in check.describe(config))
