"""A configuration is checked as a whole; every mistake is one sentence with file, line and the nearest right word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq import config as configs
from edgeseq.config import Config
from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.errors import BundleError, ConfigError, EdgeseqError, ModelError
from edgeseq.gaps import Gaps
from edgeseq.sinks.mqtt import Mqtt
from edgeseq.sinks.stdout import Stdout
from edgeseq.types import Output

GOOD = """\
name = "wear"
device = "press-4"

[source]
type = "csv"
path = "data.csv"

[model]
bundle = "bundle"

[[sinks]]
type = "stdout"

[[sinks]]
type = "mqtt"
host = "broker.local"
"""
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Give a function: GOOD with replacements -> the loaded configuration."""
    tiny_bundle.write(tmp_path / "bundle")
    rewrite(tmp_path / "bundle", ("warm_up = 8\n", ""))
    (tmp_path / "data.csv").write_text("life\n50\n30\n10\n")

    def load(*replacements: tuple[str, str], **more: Any) -> Config:
        text = GOOD
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "pipeline.toml").write_text(text)
        return configs.load(tmp_path / "pipeline.toml", **more)

    return load


def rewrite(bundle: Path, *replacements: tuple[str, str]) -> None:
    """Change bundle.toml and sign it anew, as an exporter would have."""
    manifest = bundle / "bundle.toml"
    text = manifest.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    manifest.write_text(text)
    tiny_bundle.sign(bundle)


def test_a_good_one(load: Load, tmp_path: Path) -> None:
    config = load()
    assert (config.about.device, config.about.pipeline) == ("press-4", "wear")
    assert (config.about.model, config.about.model_version) == ("leaky-average", "1.0.0")
    assert (config.about.names, config.about.unit) == (("rul",), "cycles")
    assert [type(sink) for sink in config.sinks] == [Stdout, Mqtt]
    assert config.source.spec.names == ("life",)
    assert config.source.spec.rate_hz == 1.0
    assert config.source_table["path"] == "data.csv", "relative to the configuration, wherever that is read from"
    assert config.columns == [0]
    assert isinstance(config.decider(), Hysteresis)
    summary = config.pipeline(sinks=[]).run()
    assert (summary.samples, summary.outputs, summary.events) == (3, 3, {"raised": 1})
    assert tmp_path.exists()


def test_defaults(load: Load) -> None:
    config = load(('device = "press-4"\n', ""), (GOOD[GOOD.index("[[sinks]]") :], ""))
    assert config.about.device
    assert [type(sink) for sink in config.sinks] == [Stdout]
    assert config.max_streams == 1024


def test_no_sinks_at_all_may_be_wished(load: Load) -> None:
    assert load((GOOD[GOOD.index("[[sinks]]") :], ""), ('name = "wear"', 'name = "wear"\nsinks = []')).sinks == []


def test_a_decider_is_offered_the_names_of_the_model_s_outputs(load: Load) -> None:
    decider = load(("[[sinks]]", '[decider]\ntype = "classes"\nthreshold = 20\n[[sinks]]')).decider()
    (event,) = decider.update(Output(0, "", np.array([30], np.float32)))
    assert event.level == "rul"
    with pytest.raises(ConfigError, match=r"2 names, the model has 1 outputs \(rul\)"):
        load(("[[sinks]]", '[decider]\ntype = "classes"\nthreshold = 20\nnames = ["a", "b"]\n[[sinks]]'))


def test_the_configuration_s_decider_comes_before_the_bundle_s(load: Load) -> None:
    config = load(("[[sinks]]", '[decider]\ntype = "hysteresis"\ndirection = "below"\nwarning = 5\n[[sinks]]'))
    assert not config.decider_from_bundle
    assert config.pipeline(sinks=[]).run().events == {}


def test_source_keys_may_be_replaced(load: Load, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("life\n1\n")
    config = load(source={"path": str(tmp_path / "other.csv"), "pace": "fast"})
    assert config.pipeline(sinks=[]).run().samples == 1


def test_the_source_may_have_more_channels_in_another_order(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,life\n1000,50\n1000,30\n")
    plain = load(('path = "data.csv"', 'path = "data.csv"\nchannels = ["x", "life"]'))
    assert plain.columns == [1]
    assert plain.pipeline(sinks=[]).run().events == {"raised": 1}


MISTAKES: list[tuple[tuple[str, str], str]] = [
    (('name = "wear"', 'nmae = "wear"'), "line 1: nmae: unknown key 'nmae'. Did you mean 'name'?"),
    (('name = "wear"\n', ""), "the key 'name' is missing"),
    (('name = "wear"', 'name = ""'), "line 1: name: must be 1 to 200 characters"),
    (('device = "press-4"', 'device = " "'), "line 2: device: must be 1 to 200 characters"),
    (('device = "press-4"', "max_streams = 0"), "line 2: max_streams: must be at least 1"),
    (
        ('device = "press-4"', "device = 4"),
        "line 2: device: expected text, got a whole number: put it between quotation marks.",
    ),
    (('type = "csv"', "type = 3"), "line 5: source.type: expected text, got a whole number"),
    (("[source]", "[sauce]"), "line 4: sauce: unknown key 'sauce'. Did you mean 'source'?"),
    (('type = "csv"', 'type = "cvs"'), "line 5: source.type: there is no source of type 'cvs'. Did you mean 'csv'?"),
    (('type = "csv"\n', ""), "line 4: source: the key 'type' is missing"),
    (('path = "data.csv"', 'paht = "data.csv"'), "line 6: source.paht: unknown key 'paht'. Did you mean 'path'?"),
    (('path = "data.csv"\n', ""), "line 4: source: the key 'path' is missing"),
    (('path = "data.csv"', "path = 7"), "line 6: source.path: expected a path as text, got 7"),
    (('path = "data.csv"', 'path = "data.csv"\npace = "slow"'), "line 7: source.pace: "),
    (('path = "data.csv"', 'path = "data.csv"\npace = -1.0'), "line 4: source: pace must be"),
    (
        ('path = "data.csv"', 'path = "data.csv"\nrate_hz = 100'),
        "samples come at 100 Hz, the model leaky-average takes 1 Hz",
    ),
    (
        ('path = "data.csv"', 'path = "data.csv"\nchannels = ["lfe"]'),
        "needs a channel 'life', the source has none. Did you mean 'lfe'?",
    ),
    (
        ('path = "data.csv"', 'path = "data.csv"\nchannels = [{ name = "life", unit = "h" }]'),
        "the channel 'life' is in h, the model leaky-average takes cycles",
    ),
    (('path = "data.csv"', 'path = "data.csv"\nchannels = [{ nam = "life" }]'), "line 7: source.channels"),
    (("[model]", "[modle]"), "line 8: modle: unknown key 'modle'. Did you mean 'model'?"),
    (('bundle = "bundle"', 'bundle = "bundel"'), "line 9: model.bundle: there is no bundle at"),
    (('bundle = "bundle"', 'bundle = ""'), "line 9: model.bundle: Expected a path"),
    (('bundle = "bundle"', 'bundle = "a\\u0000"'), "line 9: model.bundle: Expected a path"),
    (('bundle = "bundle"', 'bundle = "bundle"\nvariant = "int9"'), "line 10: model.variant: the bundle has no variant"),
    (
        ('bundle = "bundle"', 'bundle = "bundle"\nbackend = "orr"'),
        "line 10: model.backend: there is no backend 'orr'. ",
    ),
    (('host = "broker.local"', 'hots = "b"'), "line 16: sinks[1].hots: unknown key 'hots'. Did you mean 'host'?"),
    (('host = "broker.local"', "port = 0"), "line 16: sinks[1].port: port must lie between 1 and 65535"),
    (('host = "broker.local"', 'port = "x"'), "line 16: sinks[1].port: expected a whole number, got text"),
    (('type = "stdout"', 'type = "stout"'), "there is no sink of type 'stout'. Did you mean 'stdout'?"),
    (
        ("[[sinks]]", '[decider]\ntype = "hysteresis"\ndirection = "below"\nwarning = 5\nwarning_clear = 3\n[[sinks]]'),
        "line 11: decider: warning_clear = 3 is on the bad side of warning = 5",
    ),
    (
        ("[[sinks]]", '[decider]\ntype = "hysteresis"\ndirection = "below"\nwarning = 5\noutput = 1\n[[sinks]]'),
        "decider: output 1 does not exist: the model has 1 (rul), counted from 0",
    ),
    (('name = "wear"', "name = "), "not valid TOML"),
]


@pytest.mark.parametrize(("replacement", "message"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_place(load: Load, replacement: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(replacement)
    said = str(caught.value)
    assert message in said
    assert "pipeline.toml" in said
    assert "\n" not in said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        configs.load(tmp_path / "absent.toml")


def test_the_bundle_s_own_mistakes_are_the_bundle_s(load: Load, tmp_path: Path) -> None:
    load()
    rewrite(tmp_path / "bundle", ("warning = 40.0", "warnning = 40.0"))
    with pytest.raises(BundleError, match=r"bundle\.toml, line \d+: decider.warnning: unknown key"):
        load()


@pytest.mark.parametrize("shape", ["[2, 1]", "[1, 1, 2]"])
def test_the_frames_of_a_step_may_lie_along_any_axis(load: Load, tmp_path: Path, shape: str) -> None:
    frames = ("[[graphs]]", "[[graphs]]\nframes_per_step = 2")
    load()
    inputs = 'name = "x"\nshape = [\n    1,\n    1,\n]\n'
    assert inputs in (tmp_path / "bundle" / "bundle.toml").read_text()
    rewrite(tmp_path / "bundle", frames, (inputs, f'name = "x"\nshape = {shape}\n'))
    assert load().columns == [0]
    rewrite(tmp_path / "bundle", (f"shape = {shape}", "shape = [1, 6]"))
    with pytest.raises(BundleError, match="gives 1 values a frame, its model takes 3"):
        load()


@pytest.mark.parametrize("file", ["bundle.toml", "step.float32.onnx", "SHA256SUMS"])
def test_one_changed_byte_in_a_bundle_is_found(load: Load, tmp_path: Path, file: str) -> None:
    load()
    path = tmp_path / "bundle" / file
    whole = bytearray(path.read_bytes())
    for place in {0, len(whole) // 2, len(whole) - 2}:
        whole[place] ^= 1
        path.write_bytes(whole)
        with pytest.raises(BundleError):
            load()
        whole[place] ^= 1


def test_a_model_that_is_no_onnx_is_one_sentence(load: Load, tmp_path: Path) -> None:
    load()
    (tmp_path / "bundle" / "step.float32.onnx").write_bytes(b"this is no model")
    rewrite(tmp_path / "bundle")
    with pytest.raises(ModelError, match=r"step\.float32\.onnx") as caught:
        load().pipeline()
    assert "\n" not in str(caught.value)


FEATURES = """
[[features]]
type = "standardize"
mean = [25.0]
std = [10.0]
"""


def test_the_bundle_s_features_are_in_the_way_of_samples(load: Load, tmp_path: Path) -> None:
    load()
    text = (tmp_path / "bundle" / "bundle.toml").read_text()
    (tmp_path / "bundle" / "bundle.toml").write_text(text + FEATURES)
    rewrite(tmp_path / "bundle")
    config = load()
    assert config.frame.names == ("life",)
    first, second = config.features(), config.features()
    assert first[0] is not second[0]
    assert config.pipeline(sinks=[]).run().levels == {"critical": 1}
    rewrite(tmp_path / "bundle", ("mean = [25.0]", "mean = [25.0, 1.0]"), ("std = [10.0]", "std = [10.0, 1.0]"))
    with pytest.raises(BundleError, match=r"features\[0\]: mean and std have 2 numbers for 1 channels"):
        load()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_configuration_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damage"
    if not folder.exists():
        folder.mkdir()
        tiny_bundle.write(folder / "bundle")
    place = data.draw(st.integers(0, len(GOOD) - 1))
    removed = data.draw(st.integers(0, 8))
    put = data.draw(st.text(st.sampled_from('[]{}"=#., \n\\a0é\0'), max_size=4))
    (folder / "pipeline.toml").write_text(GOOD[:place] + put + GOOD[place + removed :], "utf-8")
    try:
        configs.load(folder / "pipeline.toml")
    except EdgeseqError as error:
        said = str(error)
    else:
        said = ""
    assert "Traceback" not in said


def test_gaps_are_judged_as_the_bundle_says_unless_the_configuration_does(load: Load, tmp_path: Path) -> None:
    assert load().gaps == Gaps()
    assert load(('name = "wear"', 'name = "wear"\nduty_cycle_s = 5')).gaps == Gaps(5.0)
    rewrite(tmp_path / "bundle", ("rate_hz = 1.0", "rate_hz = 1.0\nduty_cycle_s = 600.0\ngap_limit_s = 7200.0"))
    assert load().gaps == Gaps(600.0, 7200.0)
    assert load(('name = "wear"', 'name = "wear"\nduty_cycle_s = 5')).gaps == Gaps(5.0, 7200.0)
    for wrong in ("duty_cycle_s = 0.0", "gap_limit_s = -1.0", "gap_limit_s = nan"):
        tiny_bundle.write(tmp_path / wrong)
        rewrite(tmp_path / wrong, ("rate_hz = 1.0", f"rate_hz = 1.0\n{wrong}"))
        with pytest.raises(BundleError, match=rf"{wrong.split()[0]}: must be"):
            load(('bundle = "bundle"', f'bundle = "{wrong}"'))


def test_what_waits_and_what_is_silent_goes_by_the_source(load: Load, tmp_path: Path) -> None:
    recorded = load()
    assert (recorded.buffer_samples, recorded.when_full, recorded.silent_after_s) == (None, "block", None)
    live = ('type = "csv"\npath = "data.csv"', 'type = "mqtt"\ntopic = "a"')
    heard = load(live)
    assert (heard.buffer_samples, heard.when_full, heard.silent_after_s) == (None, "drop-oldest", 30.0)
    assert load(live, ('name = "wear"', 'name = "wear"\nduty_cycle_s = 600')).silent_after_s == 1200.0
    rewrite(tmp_path / "bundle", ("rate_hz = 1.0", "rate_hz = 0.01"))
    assert load(live).silent_after_s == 300.0
    chosen = load(
        live,
        ('name = "wear"', 'name = "wear"\nsilent_after_s = 5'),
        ("[model]", '[buffer]\nsamples = 9\nwhen_full = "skip-to-newest"\n[model]'),
    )
    assert (chosen.buffer_samples, chosen.when_full, chosen.silent_after_s) == (9, "skip-to-newest", 5.0)
    replayed = load(
        live,
        ('name = "wear"', 'name = "wear"\nsilent_after_s = 5'),
        ("[model]", '[buffer]\nwhen_full = "skip-to-newest"\n[model]'),
        source={"type": "csv", "path": str(tmp_path / "data.csv")},
    )
    assert (replayed.when_full, replayed.silent_after_s) == ("block", None), "a replay hangs on no clock"
    pipeline = chosen.pipeline(sinks=[])
    assert (pipeline._buffer._most, pipeline._buffer._when_full) == (9, "skip-to-newest")
    assert pipeline._silence._after_s == 5.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("silent_after_s = 0", "silent_after_s: must be above 0"),
        ("duty_cycle_s = -1", "duty_cycle_s: must be above 0"),
        ("buffer = { samples = 0 }", "buffer.samples: must be at least 1"),
        ('buffer = { when_full = "drop_oldest" }', "buffer.when_full: .*drop_oldest"),
        ("buffer = { size = 1 }", "unknown key 'size'"),
    ],
)
def test_what_is_no_buffer(load: Load, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(('name = "wear"', f'name = "wear"\n{text}'))
