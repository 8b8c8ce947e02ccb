"""What the runtimes are set to, all in one place, and the measurements that chose it.

`python -m benchmarks.settings` makes them: in every comment, how many times as long a step takes otherwise, the mean of
two GRUs, a TCN and a Transformer on one Zen 4 core. The native engine has nothing to set: its kernels take one thread
and whatever vectors the processor has.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime as ort

THREADS = 1
"""By default: to hand parts of some microseconds' work to another core costs as much again. Two: onnxruntime 1.10, or
1.03 with threads that spin; LiteRT 1.16."""


def turn_off_telemetry() -> None:
    """Keep onnxruntime's wheels from sending telemetry, unless the environment says otherwise.

    To be called before onnxruntime is first imported: it looks then, and never again.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def session_options(threads: int = THREADS, *, whole: bool = False, wide_sums: bool = False) -> ort.SessionOptions:
    """Return how onnxruntime opens a session.

    threads: for the work within one operation. whole: a model that reads a source of any length in one call. wide_sums:
    let int8 weights become uint8, whose products with uint8 no processor sums in 16 bits. It fails where weights have a
    scale for each output and no zero points; what edgeseq writes does not need it.
    """
    turn_off_telemetry()
    import onnxruntime as ort  # noqa: PLC0415 - it loads where a model needs it

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for the next step by spinning keep their cores busy in between, for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Step after step is a chain with little side by side. In parallel: 1.00.
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    # The C library gives memory quicker than the arena. With the arena: 1.03 in float32 and int8, 1.01 in w8a16.
    options.enable_cpu_mem_arena = False
    # All values of a step lie side by side in one block, laid out at the first step. Without the layout: 1.03, 1.15 in
    # int8, 1.17 in w8a16; with memory used again within a step: 1.02, 1.07, 1.06. A whole source's values side by side
    # would be too many, and a layout for each length would be kept for ever.
    options.enable_mem_pattern = not whole
    options.enable_mem_reuse = whole
    # Only the basic ones: 1.01, 1.34 in int8, 1.04 in w8a16.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if wide_sums:
        options.add_session_config_entry("session.x64quantprecision", "1")
    # What it says on stderr is in the exception as well.
    options.log_severity_level = 4
    return options


def interpreter_options(threads: int = THREADS) -> dict[str, Any]:
    """Return what LiteRT's Interpreter is made with, apart from the file; tflite-runtime's takes the same.

    By itself it hands to XNNPACK what that knows, float and 8-bit operations, and runs those of 16 bits with kernels of
    its own. Without XNNPACK: 1.49 in float32, 1.88 in int8; in w8a16 there is no difference at most networks.
    """
    return {"num_threads": threads}
