"""The least that a step can take: the work that bundles tell, and the rates that this core reaches."""

import platform
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny_bundle

from edgeseq import bundle as bundles
from edgeseq import machine
from edgeseq.bench import ceiling, peak_numba, peak_numpy, work
from edgeseq.bench.ceiling import held_against
from edgeseq.bench.work import Work
from edgeseq.errors import ConfigError

TURBOFAN = Path(__file__).parents[2] / "zoo" / "turbofan" / "bundle"


def test_the_longer_of_reading_and_multiplying_binds() -> None:
    done = Work(weight_bytes=90_000, state_bytes=10_000, bytes_per_step=100_000, float_macs=25_000, integer_macs=0)
    # 100,000 bytes at 50 GB/s take 2 µs, 25,000 products at 5 G/s take 5.
    found = held_against(50.0, 5.0, done, 20.0)
    assert (found.bound_by, found.bound_us, found.distance) == ("fma", pytest.approx(5.0), pytest.approx(4.0))
    found = held_against(10.0, 5.0, done, 20.0)
    assert (found.bound_by, found.bound_us, found.distance) == ("bandwidth", pytest.approx(10.0), pytest.approx(2.0))


def test_products_of_integers_have_no_rate() -> None:
    done = Work(weight_bytes=1000, state_bytes=0, bytes_per_step=1000, float_macs=0, integer_macs=10**9)
    assert held_against(1.0, 1.0, done, 1.0).bound_by == "bandwidth"
    assert done.macs == 10**9


def test_nothing_is_bound_where_nothing_is_known() -> None:
    unknown = Work(weight_bytes=None, state_bytes=4, bytes_per_step=None, float_macs=None, integer_macs=None)
    assert msgspec.to_builtins(held_against(9.0, 8.0, unknown, 1.0)) == {
        "bandwidth_gb_s": 9.0, "gmac_s": 8.0, "bound_us": None, "bound_by": None, "distance": None
    }  # fmt: skip
    assert unknown.macs is None
    known = Work(weight_bytes=8, state_bytes=0, bytes_per_step=8, float_macs=2, integer_macs=0)
    assert held_against(9.0, 8.0, known, None).distance is None


def test_the_work_of_a_step() -> None:
    opened = bundles.read(TURBOFAN)
    done = work.of(opened, opened.file("float32", "onnx"))
    assert (done.weight_bytes, done.state_bytes, done.macs) == (85_632, 4 * 64, 20_960)
    assert done.bytes_per_step == 85_632 + 4 * 64 + 4 * (14 + 1)
    # w8a16 keeps its state in 16 bits, and ONNX Runtime adds its products up in float.
    assert work.of(opened, opened.file("w8a16", "onnx")).state_bytes == 2 * 64


def test_a_table_of_tokens_is_not_read_whole(tmp_path: Path) -> None:
    opened = bundles.read(tiny_bundle.write(tmp_path / "b"))
    assert work.of(opened, opened.file("float32", "onnx")).bytes_per_step is None
    file = msgspec.structs.replace(opened.file("float32", "onnx"), weight_bytes=100)
    assert work.of(opened, file).bytes_per_step == 100 + 4 + 8
    graph = opened.graph()
    tokens = [msgspec.structs.replace(graph.inputs[0], dtype="int64", tokens=50)]
    manifest = msgspec.structs.replace(opened.manifest, graphs=[msgspec.structs.replace(graph, inputs=tokens)])
    assert work.of(bundles.Bundle(opened.path, opened.document, manifest), file).bytes_per_step is None


def test_the_kernels_do_the_work_that_they_are_counted_for() -> None:
    numbers, out = np.array([1, 2, 4, 8], np.uint64), np.zeros(8, np.uint64)
    peak_numba.read_all.compiled(numbers, 3, out)
    assert out.tolist() == [15, 15, 15, 0, 0, 0, 0, 0]
    values, by = np.array([0.5, 0.25], np.float32), np.array([0.5, 0.4, 0.3, 0.2], np.float32)
    expected = values.astype(np.float64)
    b, c, d, e = by.astype(np.float64)
    for _ in range(2):
        p, q, s, t = expected, expected, expected, expected
        for _ in range(peak_numba.FMA_PER_NUMBER // 4):
            p, q, s, t = p * b + c, q * c + d, s * d + e, t * e + b
        expected = p + q + s + t
    peak_numba.multiply_add.compiled(values, 2, by)
    assert values == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(
    platform.machine() == "x86_64" and not any(" fma " in line for line in machine.lines(machine.CPUINFO)),
    reason="this processor has no fused multiply-add",
)
def test_multiplying_and_adding_is_one_instruction() -> None:
    kernel = peak_numba.multiply_add
    # Machine code from the cache tells no assembly.
    (assembly,) = kernel._decorated(False)(kernel.function).inspect_asm().values()
    assert len(re.findall(r"\b(?:vfmadd\w+|fmla|fmadd)\b", assembly)) >= peak_numba.FMA_PER_NUMBER


@pytest.mark.parametrize("peak", [peak_numba, peak_numpy])
@pytest.mark.parametrize("size", [ceiling.LEAST_BYTES, 100_000, ceiling.MOST_BYTES])
def test_both_ways_read_any_size(peak: object, size: int) -> None:
    assert 0.01 < peak.bandwidth_gb_s(size) < 1e5  # type: ignore[attr-defined]


def test_without_numba_numpy_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfigError("no numba here")

    monkeypatch.setattr("edgeseq.libraries.numba", missing)
    monkeypatch.setattr(peak_numba, "gmac_s", missing)
    monkeypatch.setattr(peak_numpy, "gmac_s", lambda: 7.0)
    done = Work(weight_bytes=8, state_bytes=0, bytes_per_step=8, float_macs=2, integer_macs=0)
    assert ceiling.measure(done, 1.0).gmac_s == 7.0
