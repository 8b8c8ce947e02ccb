"""What the runtimes are set to, all in one place; `python -m benchmarks.settings` measures each against another.

The native engine has nothing to set: its kernels take one thread and whatever vectors the processor has.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime as ort

THREADS = 1
"""By default. A step is some microseconds of work; to hand parts of it to another core costs as much again."""


def turn_off_telemetry() -> None:
    """Keep onnxruntime's wheels from sending telemetry, unless the environment says otherwise.

    To be called before onnxruntime is first imported: it looks then, and never again.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def session_options(threads: int = THREADS, *, wide_sums: bool = False) -> ort.SessionOptions:
    """Return how onnxruntime opens a session.

    threads: for the work within one operation. wide_sums: let int8 weights become uint8, whose products with uint8 no
    processor sums in 16 bits. It fails where weights have a scale for each output and no zero points; what edgeseq
    writes does not need it.
    """
    turn_off_telemetry()
    import onnxruntime as ort  # noqa: PLC0415 - it loads where a model needs it

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # One operation after the other: a step is a chain.
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    # Threads that wait for the next step would keep a core busy between two of them, for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if wide_sums:
        options.add_session_config_entry("session.x64quantprecision", "1")
    # What it says on stderr is in the exception as well.
    options.log_severity_level = 4
    return options


def interpreter_options(threads: int = THREADS) -> dict[str, Any]:
    """Return what LiteRT's Interpreter is made with, apart from the file; tflite-runtime's takes the same.

    Float products and 8-bit ones go to XNNPACK, which is what the interpreter does by itself; what XNNPACK does not
    know, all of 16 bits, stays with the interpreter's own kernels.
    """
    return {"num_threads": threads}
