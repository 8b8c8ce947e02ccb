"""TorchScript within a module, run as it is written and in the float type of now.

TorchScript computes once what depends on no input, a state of zeros say, in the default float type of then, and keeps
it with the compiled code. All copies of a module share that code, a module in float64 and one in float32 too.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch


def as_written() -> contextlib.AbstractContextManager[None]:
    """Let TorchScript run unoptimized: what it optimized depends on the inputs that it has seen."""
    unoptimized: contextlib.AbstractContextManager[None] = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
    return unoptimized


@contextlib.contextmanager
def in_float_type(module: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Make all floats of one type, those that a module makes itself, too."""
    before = torch.get_default_dtype()
    if dtype != before:
        _forget(module)
    torch.set_default_dtype(dtype)
    try:
        with as_written():
            yield
    finally:
        torch.set_default_dtype(before)
        if dtype != before:
            _forget(module)


def _forget(module: torch.nn.Module) -> None:
    """Let scripted functions, whoever calls them, and the module's scripted parts be compiled anew."""
    known: Any = torch.jit._state  # noqa: SLF001
    functions, overloaded = known._jit_caching_layer, known._jit_function_overload_caching  # noqa: SLF001
    # Not all that their unit holds: it keeps every module ever traced, thousands where a process exports many.
    names = [*functions.values(), *itertools.chain(*overloaded.values())]
    compiled = [known._python_cu.find_function(name) for name in names]  # noqa: SLF001
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            compiled += [part._c._get_method(name) for name in part._c._method_names()]  # noqa: SLF001
    for each in compiled:
        each._debug_flush_compilation_cache()  # noqa: SLF001
