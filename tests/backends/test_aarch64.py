"""On Arm processors the native engine's kernels become vector code: read from LLVM's assembly for two of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from assembly_loops import innermost, vectors

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
CPUS = {"cortex-a72": "", "cortex-a76": "+dotprod"}
"""Processors, and what the later one knows besides."""
FUSED_CURVE = {"fmla.4s", "fmul.4s"}
RESCALED = {"smlal.2d", "sshl.2d"}
MODULES: dict[str, set[str]] = {
    "products": {"fmla.4s"},
    "integer_products": {"smlal.4s"},
    "matrices": {"fmla.4s"},
    "fused": {"fmla.4s"},
    "cells": {"fmla.4s"},
    "real": FUSED_CURVE,
    "rows": {"fmla.4s"},
    "integers": RESCALED,
    "scaling": {"smull.2d", "sshl.4s"},
}
"""What the kernels of a module do in their innermost loops, but for the following."""
KERNELS: dict[str, set[str]] = {
    "real.add": {"fadd.4s"},
    "real.subtract": {"fsub.4s"},
    "real.multiply": {"fmul.4s"},
    "real.divide": {"fdiv.4s"},
    "real.least": {"fcmgt.4s"},
    "real.greatest": {"fcmgt.4s"},
    "real.steep": {"fmul.4s"},
    "real.leaky": {"fmul.4s"},
    "real.negative": {"fneg.4s"},
    "real.size": {"fabs.4s"},
    "real.root": {"fsqrt.4s"},
    "real.reciprocal": {"fdiv.4s"},
    "real.relu": {"fcmlt.4s"},
    "real.softsign": {"fabs.4s", "fdiv.4s"},
    "real.hard_sigmoid": {"fmul.4s", "fadd.4s"},
    "real.hard_swish": {"fmul.4s", "fadd.4s"},
    "rows.sum_f32": {"fadd.4s"},
    "rows.mean_f32": {"fadd.4s"},
    "rows.greatest_f32": {"smax.4s"},
    "rows.least_f32": {"smax.4s"},
    "rows.sum_i64": {"add.2d"},
    "rows.greatest_i64": {"cmgt.2d"},
    "rows.least_i64": {"cmgt.2d"},
    # The greatest, e^x and the sum; the mean, the variance and what is made of both.
    "rows.softmax": {"smax.4s", "frintx.4s", "fmla.4s", "fadd.4s", "fmul.4s"},
    "rows.log_softmax": {"smax.4s", "frintx.4s", "fmla.4s", "fadd.4s", "fsub.4s"},
    "rows.layer_norm": {"fadd.4s", "fsub.4s", "fmla.4s", "fmul.4s"},
    "integer_products.halve": {"uzp1.16b", "uzp2.16b", "eor.16b"},
    "integers.widen": {"sub.8h"},
    "integers.wide_product": {"smull.2d", "sshl.2d"},
    "integers.settle8": {"add.2d", "sshl.2d"},
    "integers.settle16": {"add.2d", "sshl.2d"},
    **{f"integers.quantize{bits}": {"fdiv.4s", "frintx.4s", "fcvtzs.4s"} for bits in (8, 16)},
    **{f"integers.real{of}": {"sub.4s", "scvtf.4s", "fmul.4s"} for of in ("8", "16", "_plain8", "_plain16")},
    "scaling.scaled_product": {"smull.4s", "smull.2d", "sshl.4s", "sqshrn.4h"},
    "scaling.weighted_sum": {"smlal.4s", "sshl.4s", "sqxtn.4h"},
    **{f"integers.matmul_{a}_{b}": {"smlal.2d"} for a in (8, 16) for b in (8, 16)},
}
SCALAR = {
    "integers.curve": "looked up in a table",
    "integers.wide8": "64 times 64 bits, which these vectors do not multiply",
    "integers.wide16": "64 times 64 bits",
    "matrices.of_doubles": "one sum after the other, as is said of it",
    "rows.sum_f64": "one sum after the other",
    "rows.mean_f64": "one sum after the other",
    "rows.greatest_f64": "one after the other, for NaN's sake",
    "rows.least_f64": "one after the other",
}
"""Kernels whose work is not for vectors, and why. They show as well that scalar code is recognized."""


@pytest.fixture(scope="module", params=CPUS)
def cpu(request: pytest.FixtureRequest) -> str:
    """A processor."""
    return str(request.param)


@pytest.fixture(scope="module")
def wanted(cpu: str) -> dict[str, set[str]]:
    """What the kernels of each module do."""
    return MODULES | ({"integer_products": {"sdot.4s"}} if CPUS[cpu] else {})


@pytest.fixture(scope="module")
def assembly(cpu: str) -> dict[str, str]:
    """Each kernel, compiled for a processor."""
    set_ = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": CPUS[cpu]}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("aarch64.py")), cpu, *MODULES],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **set_, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    compiled: dict[str, str] = json.loads(done.stdout)
    return compiled


@pytest.fixture(scope="module")
def loops(assembly: dict[str, str]) -> dict[str, list[list[str]]]:
    """Each kernel's innermost loops."""
    return {name: innermost(text) for name, text in assembly.items()}


def test_kernels_are_vector_code(loops: dict[str, list[list[str]]], wanted: dict[str, set[str]]) -> None:
    wrong = []
    for name, found in loops.items():
        seen = set().union(*map(vectors, found))
        needed = set() if name in SCALAR else KERNELS.get(name, wanted[name.partition(".")[0]])
        if not needed <= seen or (name in SCALAR and seen):
            wrong.append(f"{name}: has {sorted(seen)}, should have {sorted(needed) or 'none'}")
    assert not wrong, "\n".join(wrong)
    assert {*KERNELS, *SCALAR} <= {*loops}


@pytest.mark.parametrize("module", ["products", "integer_products", "matrices"])
def test_sums_of_products_stay_in_registers(
    module: str, loops: dict[str, list[list[str]]], wanted: dict[str, set[str]]
) -> None:
    inner = [
        loop
        for name, found in loops.items()
        if name.startswith(f"{module}.")
        for loop in found
        if vectors(loop) & wanted[module]
    ]
    assert inner
    assert not [line for loop in inner for line in loop if line.startswith("st") or "[sp" in line]


def test_a_cells_gates_are_vector_code(assembly: dict[str, str]) -> None:
    """They stand outside its loops, which are those of its sums."""
    divided = [line.split()[1] for line in assembly["cells.gru"].splitlines() if line.split()[:1] == ["fdiv"]]
    assert divided
    assert not [register for register in divided if not register.startswith("v")]


NESTED = """\
kernel:
    cbz x0, .done
.rows:
    mov x2, #0
.columns:                      // the innermost
    fmla v0.4s, v1.4s, v2.4s
    cbz x3, .cold
.after:
    subs x2, x2, #4
    b.ne .columns
    fadd v3.4s, v0.4s, v0.4s   // of the outer loop alone
    subs x1, x1, #1
    b.ne .rows
.done:
    ret
.apart:
    fmul v5.4s, v0.4s, v0.4s   // no loop, though it jumps back
    b .done
.cold:
    fsub v4.4s, v4.4s, v0.4s   // out of line, of the innermost loop nevertheless
    b .after
"""


def test_the_innermost_loop_is_found_by_its_jumps() -> None:
    (loop,) = innermost(NESTED)
    assert vectors(loop) == {"fmla.4s", "fsub.4s"}
    assert not innermost("f:\n  fadd v0.4s, v0.4s, v1.4s\n  cbz x0, .out\n  fmul v0.4s, v0.4s, v1.4s\n.out:\n  ret\n")
