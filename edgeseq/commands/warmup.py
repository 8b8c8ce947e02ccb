"""`edgeseq warmup`: the kernels of the native engine and of the features, compiled for this machine ahead of time."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
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

  edgeseq warmup                      all kernels
  edgeseq warmup pipeline.toml        those that a configuration needs, and replay its goldens
  edgeseq warmup --json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="a pipeline's TOML file; default: all")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Compile and say what was done."""
    from edgeseq import libraries

    libraries.numba()
    from edgeseq import jit

    began = time.monotonic()
    functions = _all() if args.config is None else _needed(args.config)
    seconds = time.monotonic() - began
    folder, compiled = jit.place(), sum(not each.kept for each in functions)
    if functions and jit.cold():
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


def _all() -> list[Function]:
    """Compile everything there is."""
    from edgeseq import jit, plugins
    from edgeseq.backends import native  # noqa: F401 - with it come all its kernels

    for name in plugins.known("features"):
        plugins.find("features", name)
    functions = jit.functions()
    for each in _shown(functions):
        _ = each.compiled
    return functions


def _needed(path: Path) -> list[Function]:
    """Do all that a service of this configuration does until it is ready, and return what was compiled for it."""
    from edgeseq import config as configs
    from edgeseq import jit
    from edgeseq.service.warm import warm

    config = configs.load(path)
    warm(config.pipeline().model, len(config.frame.channels))
    return [function for function in jit.functions() if function.asked]


def _shown(functions: Sequence[Function]) -> Iterable[Function]:
    """Give the functions one by one, with a bar on a terminal; nothing of it is left."""
    if not sys.stderr.isatty():
        return functions
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(functions, "compiling kernels", console=console, transient=True)
