"""Compiles kernels as Numba does on an Arm processor, and prints their assembly as JSON.

`python aarch64.py CPU MODULE...`, with NUMBA_CPU_NAME=generic and what else the processor knows as NUMBA_CPU_FEATURES:
the kernels then take the ways that they take on Arm, and Numba's passes are given that processor's target. Nothing of
it is run, and what is made of Arm's own instructions becomes no machine code of this processor either. A module is one
of the native engine's or, where its name begins with _, of the features; MODULE.KERNEL takes one kernel alone.
"""

from __future__ import annotations

import importlib
import json
import sys

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

TRIPLE = "aarch64-unknown-linux-gnu"


def machine(cpu: str) -> llvm.TargetMachine:
    """Return LLVM's target for a processor."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=cpu, opt=3)


def assembly(target: llvm.TargetMachine, optimized: str) -> str:
    """Return the assembly of a module that is optimized already."""
    module = llvm.parse_assembly(optimized)
    module.triple, module.data_layout = TRIPLE, str(target.target_data)
    return str(target.emit_assembly(module))


def main(cpu: str, modules: list[str]) -> None:
    """Print {"module.kernel": assembly}."""
    target = machine(cpu)
    # Before the first kernel is compiled: from here on, what may become a vector is judged by that target. Numba has no
    # public way to compile for other processors than its own kind.
    codegen = cpu_target.target_context.codegen()
    compiled, held = codegen._add_module, []

    # What is made of Arm's own instructions would be refused here.
    def add(module: llvm.ModuleRef) -> None:
        if "llvm.aarch64" in str(module):
            held.append(module)
        else:
            compiled(module)

    codegen._tm, codegen._add_module = target, add

    from edgeseq import jit  # noqa: PLC0415
    from edgeseq.backends.native import engine  # noqa: F401, PLC0415 - it imports all kernels
    from edgeseq.backends.native.kernels import vectors  # noqa: PLC0415

    if vectors.X86 or vectors.LANES != 4:  # Arm's vectors have 128 bits
        sys.exit("this must run with NUMBA_CPU_NAME=generic.")
    # A cache would hand this code to the next process that compiles for any processor.
    jit.place = lambda: None
    for module in modules:
        if module.startswith("_"):
            importlib.import_module(f"edgeseq.features.{module.partition('.')[0]}")
    found = {}
    for kernel in jit.functions():
        module = kernel.function.__module__.rpartition(".")[2]
        name = f"{module}.{kernel.function.__name__}"
        if isinstance(kernel, jit.Kernel) and {module, name} & {*modules}:
            found[name] = assembly(target, kernel.compiled.inspect_llvm())
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
