"""[checkpoint]: where states are kept, what is refused, and what makes a snapshot another pipeline's."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_bundle
from small_chains import ECHO, build

from edgeseq import config as configs
from edgeseq import sums
from edgeseq.commands import check
from edgeseq.config import Config
from edgeseq.errors import ConfigError
from edgeseq.service import checkpoint_table

CONFIG = """\
name = "wear"
device = "press-4"
[source]
type = "csv"
path = "data.csv"
[model]
bundle = "bundle"
[decider]
type = "hysteresis"
direction = "below"
warning = 40
[[sinks]]
type = "stdout"
{rest}
"""
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Give a function: what stands at the end of the configuration, and replacements -> it is loaded."""
    tiny_bundle.write(tmp_path / "bundle")
    tiny_bundle.write(tmp_path / "other", 0.25)
    (tmp_path / "data.csv").write_text("life\n50\n30\n10\n")

    def load(rest: str = "", *replacements: tuple[str, str]) -> Config:
        text = CONFIG.format(rest=rest)
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "pipeline.toml").write_text(text)
        return configs.load(tmp_path / "pipeline.toml")

    return load


def test_without_a_place_nothing_is_kept(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    config = load()
    assert checkpoint_table.keeper(config, config.pipeline().model) is None
    assert "keeps no checkpoint: a restart begins anew" in check.describe(load())[-1]


def test_systemd_s_folder_is_the_place(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path / 'state'}:/var/lib/other")
    config = load()
    keeper = checkpoint_table.keeper(config, config.pipeline().model)
    assert keeper is not None
    assert keeper.path == tmp_path / "state" / "checkpoint"
    assert keeper.path.parent.is_dir()
    assert check.describe(load())[-1] == (f"keeps all states in {keeper.path} every 30 s and when it is stopped")


def test_the_configuration_s_own_place_comes_first(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    config = load('[checkpoint]\npath = "kept/here"\ninterval_s = 0.5')
    assert config.checkpoint == tmp_path / "kept" / "here"
    assert config.checkpoint_interval_s == 0.5


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("interval_s = 0", "checkpoint.interval_s: must be above 0, not 0"),
        ("interval_s = nan", "checkpoint.interval_s: must be above 0, not nan"),
        ("interval = 3", "checkpoint.interval: unknown key 'interval'. Did you mean 'interval_s'?"),
        ('path = ""', "checkpoint.path: "),
    ],
)
def test_a_mistake_is_one_sentence(load: Load, table: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"[checkpoint]\n{table}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ('[checkpoint]\npath = "data.csv"', "line 15: checkpoint.path: .*data.csv is what 'path' names"),
        ('[checkpoint]\npath = "pipeline.toml"', "pipeline.toml is the configuration itself"),
        ('[outbox]\npath = "a/../bundle"', "line 15: outbox.path: .*bundle is what 'bundle' names"),
        (
            '[[sinks]]\ntype = "sqlite"\npath = "same"\n[checkpoint]\npath = "same"',
            "line 18: checkpoint.path: .*same is what sinks.1..path names",
        ),
    ],
)
def test_what_is_read_is_not_written_over(load: Load, tables: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tables)


@pytest.mark.parametrize("path", ["folder", "data.csv/checkpoint"])
def test_a_place_that_cannot_be_is_told_before_anything_runs(load: Load, path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    config = load(f'[checkpoint]\npath = "{path}"')
    with pytest.raises(ConfigError, match=r"pipeline.toml.*checkpoint.path: .* cannot be"):
        checkpoint_table.keeper(config, config.pipeline().model)


@pytest.mark.parametrize(
    ("replacement", "different"),
    [
        (('"wear"', '"tear"'), ["pipeline"]),
        (('"bundle"', '"other"'), ["model"]),
        (('path = "data.csv"', 'path = "data.csv"\nmissing = "drop"'), ["[source]"]),
        (("warning = 40", "warning = 41"), ["[decider]"]),
        (('device = "press-4"', 'device = "press-4"\nmax_streams = 3'), ["max_streams"]),
        (('type = "stdout"', 'type = "stdout"\nformat = "json"'), []),
        (('device = "press-4"', 'device = "press-5"'), []),
    ],
)
def test_what_makes_it_another_pipeline_s(load: Load, replacement: tuple[str, str], different: list[str]) -> None:
    identities = []
    for replacements in ([], [replacement]):
        config = load("", *replacements)
        identities.append(checkpoint_table.identity(config, config.pipeline().model))
    assert [name for name, value in identities[0].items() if identities[1][name] != value] == different


def test_variant_and_backend_make_it_another(load: Load) -> None:
    config = load()
    model = config.pipeline().model
    before = checkpoint_table.identity(config, model)
    model.variant = "int8"
    after = checkpoint_table.identity(config, model)
    assert [name for name, value in before.items() if after[name] != value] == ["variant"]


def test_code_that_is_not_there_is_not_passed_over() -> None:
    with pytest.raises(FileNotFoundError, match="no sources called lane"):
        sums.of_sources(("sources", "lane.py"), "")


def test_stages_make_it_another(tmp_path: Path) -> None:
    identities = []
    for stages in (ECHO, ECHO, ECHO.replace("gain = 3", "gain = 4")):
        config = build(tmp_path, stages)
        identities.append(checkpoint_table.identity(config, config.pipeline().model))
    assert identities[0] == identities[1]
    assert [name for name, value in identities[0].items() if identities[2][name] != value] == ["model"]
