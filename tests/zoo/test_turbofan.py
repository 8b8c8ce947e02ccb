"""The reference model's data, scores and training, on small made-up files of C-MAPSS's form."""

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from edgeseq import bundle as bundles
from edgeseq.features.standardize import Standardize
from edgeseq.types import Channel, StreamSpec
from zoo.turbofan.data import (
    CHANNELS,
    CLIP,
    SENSORS,
    SETTINGS,
    DataError,
    Floats,
    Standardizer,
    find_regimes,
    fit_standardizer,
    labels,
    nearest,
    read_engines,
    read_rul,
)
from zoo.turbofan.evaluate import last_half, last_recent, nasa_score, report, rmse, score, truncated_mse
from zoo.turbofan.ship import VARIANTS

SIX = np.array(
    [[0, 0, 100], [10, 0.25, 100], [20, 0.7, 100], [25, 0.62, 60], [35, 0.84, 100], [42, 0.84, 100]], np.float64
)
CONSTANT = ("T2", "P2", "Nf_dmd")


def write_part(folder: Path, name: str, lives: list[int], regimes: Floats | None = None, shorter: int = 0) -> None:
    """Write engines whose sensors drift towards failure; `shorter` cycles are cut off their ends."""
    random = np.random.default_rng(sum(lives))
    rows = []
    for unit, life in enumerate(lives, start=1):
        regime = np.zeros(life, int) if regimes is None else random.integers(0, len(SIX), life)
        settings = SIX[regime] + random.uniform(-0.002, 0.002, (life, 3)) * [1, 1, 0]
        wear = np.exp(-np.arange(life - 1, -1, -1) / 30)[:, None]
        sensors = (
            500 + 90 * regime[:, None] + 3 * wear * np.linspace(-1, 1, len(SENSORS)) + random.normal(size=(life, 21))
        )
        for place, (channel, _) in enumerate(SENSORS):
            if channel in CONSTANT:
                sensors[:, place] = 500 + 90 * regime
        table = np.column_stack([np.full(life, unit), np.arange(1, life + 1), settings, sensors])
        rows += [
            " ".join(f"{value:.4f}" if k > 1 else f"{value:.0f}" for k, value in enumerate(row))
            for row in table[: life - shorter]
        ]
    (folder / f"{name}.txt").write_text(" \n".join(rows) + "\n", "ascii")


@pytest.fixture(scope="module")
def one_regime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    write_part(folder, "train_FD001", [60, 75, 90, 64, 81, 70])
    write_part(folder, "test_FD001", [60, 70, 80], shorter=25)
    (folder / "RUL_FD001.txt").write_text("24 \n24 \n24 \n", "ascii")
    return folder


@pytest.fixture(scope="module")
def six_regimes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("six")
    write_part(folder, "train_FD002", [150, 170, 160], regimes=SIX)
    return folder


def test_reads_engines(one_regime: Path) -> None:
    engines = read_engines(one_regime, "train", "FD001")
    assert [engine.cycles for engine in engines] == [60, 75, 90, 64, 81, 70]
    assert [engine.number for engine in engines] == [1, 2, 3, 4, 5, 6]
    assert engines[0].values.shape == (60, 24)
    assert engines[0].values.dtype == np.float32
    assert read_rul(one_regime, "FD001", 3).tolist() == [24, 24, 24]


def test_reads_compressed_files_alike(one_regime: Path, tmp_path: Path) -> None:
    (tmp_path / "train_FD001.txt.gz").write_bytes(gzip.compress((one_regime / "train_FD001.txt").read_bytes()))
    for plain, packed in zip(
        read_engines(one_regime, "train", "FD001"), read_engines(tmp_path, "train", "FD001"), strict=True
    ):
        np.testing.assert_array_equal(plain.values, packed.values)


def line(number: int, cycle: int) -> str:
    return f"{number} {cycle} " + " ".join(["1.0"] * 24)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (line(1, 1) + "\n1 2 3.0\n", r"train_FD001\.txt, line 2: 3 columns instead of 26"),
        (line(1, 1) + "\n" + line(1, 2).replace("1.0", "1,0", 1), r"line 2: could not convert string to float: '1,0'"),
        (line(1, 1).replace("1.0", "nan", 1), "line 1: a value is not finite"),
        (line(1, 1) + "\n" + line(1, 3), "cycles of engine 1 do not count 1, 2, 3"),
        ("", "is empty"),
        ("\N{DEGREE SIGN}", "cannot be read"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "train_FD001.txt").write_text(text, "utf-8")
    with pytest.raises(DataError, match=says):
        read_engines(tmp_path, "train", "FD001")


def test_missing_and_damaged_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither train_FD003\.txt nor train_FD003\.txt\.gz"):
        read_engines(tmp_path, "train", "FD003")
    (tmp_path / "train_FD003.txt.gz").write_bytes(gzip.compress(b"1 2 3" * 100)[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read_engines(tmp_path, "train", "FD003")


def test_labels_of_another_subset_are_refused(one_regime: Path) -> None:
    with pytest.raises(DataError, match="3 lines for 4 test engines"):
        read_rul(one_regime, "FD001", 4)


def test_labels_stay_at_the_cap_and_end_at_zero() -> None:
    label = labels(200)
    assert label[:75].tolist() == [125.0] * 75
    assert label[-3:].tolist() == [2.0, 1.0, 0.0]


def test_one_regime_is_found_and_constant_sensors_are_dropped(one_regime: Path) -> None:
    standardizer = fit_standardizer(read_engines(one_regime, "train", "FD001"))
    assert standardizer.centres.shape == (1, 3)
    assert set(standardizer.names) == {name for name, _ in SENSORS} - set(CONSTANT)


def test_six_regimes_are_found_and_standardized_apart(six_regimes: Path) -> None:
    engines = read_engines(six_regimes, "train", "FD002")
    standardizer = fit_standardizer(engines)
    np.testing.assert_allclose(standardizer.centres, SIX, atol=1e-3)
    values = np.concatenate([engine.values for engine in engines])
    regime = nearest(values[:, :3], standardizer.centres)
    assert set(regime) == set(range(6))
    frames = standardizer(values)
    for place in range(6):
        inside = frames[regime == place]
        np.testing.assert_allclose(inside.mean(axis=0), 0, atol=0.01)
        np.testing.assert_allclose(inside.std(axis=0), 1, atol=0.01)


def test_regimes_do_not_depend_on_the_order_of_rows(six_regimes: Path) -> None:
    settings = read_engines(six_regimes, "train", "FD002")[0].values[:, :3]
    np.testing.assert_allclose(find_regimes(settings), find_regimes(settings[::-1]), rtol=1e-6)


def test_a_sensor_constant_in_one_regime_only_keeps_finite(six_regimes: Path) -> None:
    engines = read_engines(six_regimes, "train", "FD002")
    centres = fit_standardizer(engines).centres
    for engine in engines:
        engine.values[nearest(engine.values[:, :3], centres) == 2, 5] = 7.0
    standardizer = fit_standardizer(engines)
    assert "T30" in standardizer.names
    assert np.isfinite(standardizer(engines[0].values)).all()


@pytest.mark.parametrize(("subset", "name"), [("FD001", "one_regime"), ("FD002", "six_regimes")])
def test_the_runtime_standardizes_alike(subset: str, name: str, request: pytest.FixtureRequest) -> None:
    engines = read_engines(request.getfixturevalue(name), "train", subset)
    standardizer = fit_standardizer(engines)
    several = len(standardizer.centres) > 1
    feature = Standardize(
        channels=list(standardizer.names),
        mean=standardizer.mean.tolist(),
        std=standardizer.std.tolist(),
        regime_channels=[channel for channel, _ in SETTINGS] if several else None,
        regime_centres=standardizer.centres.tolist() if several else None,
        clip=standardizer.clip,
    )
    feature.open(StreamSpec(tuple(Channel(*channel) for channel in CHANNELS), 1.0))
    values = engines[0].values
    _, frames = feature.push(np.arange(len(values), dtype=np.int64), values)
    np.testing.assert_array_equal(frames, standardizer(values))


def test_frames_are_clipped() -> None:
    wide = Standardizer((3,), np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32), np.zeros((1, 3), np.float32))
    values = np.full((2, 24), [[100.0], [-100.0]], np.float32)
    assert wide(values).ravel().tolist() == [CLIP, -CLIP]


def test_scores_by_hand() -> None:
    assert rmse([10, 20], [13, 16]) == pytest.approx(math.sqrt((9 + 16) / 2))
    assert nasa_score([87, 110, 50], [100, 100, 50]) == pytest.approx((math.e - 1) + (math.e - 1) + 0)
    both = score([120, 50], [145, 60])
    assert both.rmse_capped == pytest.approx(math.sqrt((25 + 100) / 2))
    assert both.rmse == pytest.approx(math.sqrt((625 + 100) / 2))
    assert both.nasa_capped == pytest.approx(math.exp(5 / 13) - 1 + math.exp(10 / 13) - 1)
    assert both.nasa == pytest.approx(math.exp(25 / 13) - 1 + math.exp(10 / 13) - 1)


def test_views_are_the_last_cycles() -> None:
    frames = np.arange(61, dtype=np.float32)[:, None]
    assert last_half(frames)[:, 0].tolist() == list(range(30, 61))
    assert last_recent(frames)[:, 0].tolist() == list(range(31, 61))
    assert len(last_recent(frames[:8])) == 8


def test_report_takes_the_last_point_of_each_view() -> None:
    """A model that counts the cycles it has seen tells how many it was shown."""

    def counts(frames: Floats) -> Floats:
        return np.arange(1, len(frames) + 1, dtype=np.float32)

    scores = report(counts, [np.zeros((80, 2), np.float32), np.zeros((100, 2), np.float32)], [80, 100])
    assert scores.whole.rmse == 0
    assert scores.half.rmse == pytest.approx(math.sqrt((40**2 + 50**2) / 2))
    assert scores.recent.rmse == pytest.approx(math.sqrt((50**2 + 70**2) / 2))


def test_truncated_mse_averages_cycles_within_engines_then_engines() -> None:
    exact = [labels(200), labels(150)]
    assert truncated_mse(exact) == 0
    assert truncated_mse([exact[0] + 2, exact[1] + 4]) == pytest.approx((4 + 16) / 2)
    early, far = labels(40), labels(200)
    early[:29] = 1e6  # history too short
    far[:49] = 1e6  # more than 150 cycles to go
    assert truncated_mse([early, far]) == 0
    far[49] += 11
    assert truncated_mse([far]) == pytest.approx(11**2 / 151)


def test_the_bundle_has_every_variant_for_every_backend() -> None:
    bundle = bundles.read(Path(__file__).parents[2] / "zoo" / "turbofan" / "bundle")
    proven = {(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.passed}
    assert proven == set(itertools.product(VARIANTS, ("ort", "litert", "native")))
    assert bundle.manifest.defaults == dict.fromkeys(("native", "ort", "litert"), "int8")
