"""`edgeseq warmup`: the kernels of the native engine and of the features, compiled for this machine ahead of time."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgeseq.errors import ConfigError

if TYPE_CHECKING:
    from edgeseq.jit import Function

HELP = """\
Compiles the kernels of the backend `native` and of the features for this machine, once, so that whatever uses them
later starts quickly. Without it, whoever is the first to use one compiles the kernels that it needs.

They are kept in $EDGESEQ_CACHE, a systemd service's CacheDirectory= or StateDirectory=, or ~/.cache/edgeseq, for this
processor and these versions of edgeseq and Numba. Run it as the user that will run the pipeline, with the same
EDGESEQ_CACHE.

  edgeseq warmup
  edgeseq warmup --json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Compile and say what was done."""
    from edgeseq import libraries

    libraries.numba()
    from edgeseq import jit, plugins
    from edgeseq.backends import native  # noqa: F401 - with it come all its kernels

    for name in plugins.known("features"):
        plugins.find("features", name)
    began = time.monotonic()
    functions = jit.functions()
    for each in _shown(functions):
        _ = each.compiled
    seconds = time.monotonic() - began
    folder, compiled = jit.place(), sum(not each.kept for each in functions)
    if jit.cold():
        why = "there is no home to keep machine code in" if folder is None else f"{folder}: nothing can be kept there"
        raise ConfigError(f"{why}. Set EDGESEQ_CACHE to a folder that can be written.")
    if args.json:
        document = {"kernels": len(functions), "compiled": compiled, "seconds": seconds, "place": str(folder)}
        print(json.dumps({**document, "engine": jit.version()}, indent=2))
    elif compiled:
        print(f"Compiled {compiled} of {len(functions)} kernels in {seconds:.1f} s. They are kept in {folder}.")
    else:
        print(f"All {len(functions)} kernels were compiled already. They are kept in {folder}.")
    return 0


def _shown(functions: Sequence[Function]) -> Iterable[Function]:
    """Give the functions one by one, with a bar on a terminal; nothing of it is left."""
    if not sys.stderr.isatty():
        return functions
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(functions, "compiling kernels", console=console, transient=True)
