"""The bearings' data, frames, made-up lives and alerts, on small made-up files of the test rig's form."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_bearings import loose, packed

from edgeseq import bundle as bundles
from edgeseq.bearings import per_turn
from zoo.bearing import synthetic
from zoo.bearing.data import BEARING, CHANNELS, SAMPLES, DataError, Run, read_runs
from zoo.bearing.evaluate import DECIDER, HEALTHY, Alerts, alerts, growth, rule
from zoo.bearing.frames import LEVELS, frames, names, standardize
from zoo.bearing.ship import VARIANTS

BUNDLE = Path(__file__).parents[2] / "zoo" / "bearing" / "bundle"


def test_reads_archives_and_folders_alike(tmp_path: Path) -> None:
    made = synthetic.run(0, records=3, condition=2)
    packed(tmp_path / "a", "Bearing2_1", made)
    loose(tmp_path / "b", "Bearing2_1", made)
    (one,), (two,) = read_runs(tmp_path / "a"), read_runs(tmp_path / "b")
    assert one.name == two.name == "Bearing2_1"
    assert one.t_s.tolist() == [0, 100, 200]
    assert one.life_s == 200
    assert one.samples.shape == (3, SAMPLES, len(CHANNELS))
    np.testing.assert_array_equal(one.samples, two.samples)
    np.testing.assert_allclose(one.samples, made.samples, atol=6e-4)
    assert (one.samples[:, :, 2] == 1650).all()


def test_what_is_no_bearing_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no bearing: neither BearingC_N"):
        read_runs(tmp_path)
    with pytest.raises(DataError, match="holds no bearing"):
        read_runs(tmp_path / "missing")
    (tmp_path / "Bearing1_1").mkdir()
    with pytest.raises(DataError, match=r"holds no acc_NNNNN\.csv"):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace(";", "!", 1), r"acc_00001\.csv: .*Restore it"),
        (lambda text: text[: len(text) // 2].rpartition("\n")[0], "2560 of 6"),
        (lambda text: text.replace("0.", "nan", 1), "must be finite|Restore it"),
    ],
)
def test_damaged_records_are_explained(tmp_path: Path, change: Callable[[str], str], says: str) -> None:
    loose(tmp_path, "Bearing1_1", synthetic.run(0, records=1))
    file = tmp_path / "Bearing1_1" / "acc_00001.csv"
    file.write_text(change(file.read_text()))
    with pytest.raises(DataError, match=says):
        read_runs(tmp_path)


def test_a_damaged_archive_is_explained(tmp_path: Path) -> None:
    packed(tmp_path, "Bearing1_1", synthetic.run(0, records=2))
    path = tmp_path / "Bearing1_1.tar.xz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"Bearing1_1\.tar\.xz cannot be read"):
        read_runs(tmp_path)


def test_a_frame_is_of_its_record_alone() -> None:
    """What came before leaves no trace: filters and windows start anew behind the gap."""
    run = synthetic.run(3, records=5)
    found = frames(run, LEVELS)
    assert found.shape == (5, len(names(LEVELS)))
    alone = dataclasses.replace(run, t_s=run.t_s[3:4], samples=run.samples[3:4])
    np.testing.assert_array_equal(frames(alone, LEVELS)[0], found[3])


def test_the_fault_is_seen_where_geometry_and_speed_say() -> None:
    """The made-up fault of the outer race raises that band most, at every speed."""
    for condition in (1, 2, 3):
        run = synthetic.run(condition, records=30, condition=condition)
        level = dict(zip(names(LEVELS), (frames(run, LEVELS)[[0, -1]]).T, strict=True))
        risen = {name: level[f"horizontal.{name}.dB"][1] for name in ("bpfo", "bpfi", "bsf", "ftf")}
        assert max(risen, key=lambda name: risen[name]) == "bpfo"
        assert level["horizontal.rms.dB"][1] - level["horizontal.rms.dB"][0] > 6
    assert per_turn(BEARING)[0] == pytest.approx(5.611, abs=1e-3)


def test_standardized_frames_are_held_to_the_clip() -> None:
    run = synthetic.run(3, records=5)
    count = len(names(LEVELS))
    chain = [*LEVELS, standardize(np.full(count, -200, np.float32), np.ones(count, np.float32))]
    assert (frames(run, chain) == 5).all()


def test_a_silent_channel_gives_no_number() -> None:
    run = synthetic.run(3, records=2)
    run.samples[0, :, 0] = 0
    found = frames(run, LEVELS)
    assert np.isnan(found[0]).any(), "so that a device drops the frame and counts it"
    assert np.isfinite(found[1]).all()


def lived(*scores: float) -> Alerts:
    t_s = np.arange(len(scores), dtype=np.int64) * 100
    return alerts(t_s, np.array(scores, np.float32), DECIDER)


def test_alerts_by_hand() -> None:
    assert lived(*[1000] * 8) == Alerts(None, 0)
    assert lived(*[1000] * 7, 400, 300, 600) == Alerts(200, 0), "600 does not clear"
    assert lived(*[1000] * 2, 400, 800, 1000, 900, 800, 400, 300) == Alerts(100, 1)
    assert lived(*[1000] * 6, 400, 900) == Alerts(None, 1)
    assert lived(1000, 400, *[300] * 8) == Alerts(800, 1), "it stands, but from the first half of the life on"


def test_growth_is_against_the_own_start() -> None:
    samples = np.ones((HEALTHY + 3, SAMPLES, 3), np.float32)
    samples[:, :, 0] *= np.array([5, *[2] * (HEALTHY - 1), 2, 6, 2], np.float32)[:, None]
    samples[-1, :, 1] *= 4
    run = Run("x", np.arange(HEALTHY + 3) * 100, samples)
    np.testing.assert_allclose(growth(run), [*[1] * (HEALTHY + 1), 3, 4], rtol=1e-6)
    assert alerts(run.t_s, growth(run), rule(2.5)) == Alerts(100, 0)


def test_made_up_lives_repeat_and_wear_at_the_end() -> None:
    one, two, other = synthetic.run(5, 20), synthetic.run(5, 20), synthetic.run(6, 20)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert not np.array_equal(one.samples, other.samples)
    level = one.samples[:, :, 0].std(axis=1)
    assert level[-1] > 3 * level[:8].max()


def test_the_bundle_has_every_variant_for_every_backend_and_is_small() -> None:
    bundle = bundles.read(BUNDLE)
    proven = {(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.passed}
    assert proven == set(itertools.product(VARIANTS, ("ort", "litert", "native")))
    assert bundle.manifest.decider == DECIDER
    assert list(bundle.manifest.features[:-1]) == LEVELS
    assert sum(file.stat().st_size for file in BUNDLE.iterdir()) < 1 << 20
