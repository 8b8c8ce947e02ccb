"""Products of int16 and int8 against NumPy, to the bit, with each processor's instructions for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_ops import SEEDS, SOME, run

from edgeseq.backends.native.kernels import integer_products as kernels
from edgeseq.backends.native.kernels.vectors import BYTES, LANES
from edgeseq.backends.native.plan import Array, Plan
from edgeseq.backends.native.rules.integers import PART, sums

ROOT = Path(__file__).parents[2]
SSE2 = "+sse2"
AVX2 = f"{SSE2},+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma"
AVX512 = f"{AVX2},+avx512f,+avx512bw,+avx512dq,+avx512vl"
OTHERS = {"x86-64": SSE2, "haswell": AVX2, "skylake-avx512": AVX512}
"""Processors whose products are made of pairs, and what they know."""


def summed(x: Array, weight: Array) -> Array:
    """Lay a product out and run its rows twice, for every second call begins with the last panel."""
    plan = Plan()
    stored = plan.buffer(x.shape, x.dtype)
    stored[...] = x
    y = plan.buffer((len(x), len(weight)), np.int32)
    sums(plan, y, stored, weight)
    table, made = plan.table(), []
    for _ in range(2):
        y[...] = -1
        run(table)
        made.append(y.copy())
    np.testing.assert_array_equal(*made)
    return made[0]


@SOME
@given(rows=st.integers(1, 9), inputs=st.integers(1, 70), outputs=st.integers(1, 300), seed=SEEDS)
def test_sums_are_those_of_numpy(rows: int, inputs: int, outputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**15), 2**15, (rows, inputs)).astype(np.int16)
    weight = rng.integers(-(2**7), 2**7, (outputs, inputs)).astype(np.int8)
    np.testing.assert_array_equal(summed(x, weight), kernels.reference(x, weight))


@pytest.mark.parametrize("inputs", [1, 3, 4, 5, PART - 1, PART])
@pytest.mark.parametrize("x", [-(2**15), -1, 0, 255, 256, 2**15 - 1])
def test_the_ends_of_what_integers_hold(x: int, inputs: int) -> None:
    entering = np.full((5, inputs), x, np.int16)
    weight = np.full((9 * LANES, inputs), 127, np.int8)
    weight[::2] = -128
    weight[::3, : inputs // 2] = 0
    np.testing.assert_array_equal(summed(entering, weight), kernels.reference(entering, weight))


@pytest.mark.long
@pytest.mark.parametrize("cpu", OTHERS)
def test_other_processors_instructions_give_the_same(cpu: str, tmp_path: Path) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("these are instructions of x86")
    code = "from edgeseq.backends.native.kernels.vectors import BYTES, LANES; print(BYTES, LANES)"
    told = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": OTHERS[cpu], "XDG_CACHE_HOME": str(tmp_path)}
    environment = {**os.environ, **told, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert made.split() == ["False", {"x86-64": "4", "haswell": "8", "skylake-avx512": "16"}[cpu]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider", __file__],
        env=environment, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_bytes_are_multiplied_where_the_processor_does_so() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or "NUMBA_CPU_FEATURES" in os.environ:
        pytest.skip("nothing tells what this processor knows, or it is told to be another")
    # As Linux calls them, of x86 and of Arm.
    assert bool({"avx512_vnni", "asimddp"} & {*flags.read_text().split()}) == BYTES
