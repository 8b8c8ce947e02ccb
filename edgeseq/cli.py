"""The command line: finds the command's file, loads nothing else, and turns our errors into one paragraph."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from importlib.metadata import entry_points
from types import ModuleType

from edgeseq import stdio
from edgeseq.errors import ConfigError, EdgeseqError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "demo": "watch real machines wear out: bundled data, bundled model, embedded broker",
    "run": "run a pipeline as a service: source, model, alerts",
    "check": "validate a configuration without running it, and say what would happen",
    "replay": "run the same pipeline over recorded data as fast as it goes",
    "features": "make the feature frames that a model is trained on, by the code of the device",
    "export": "turn a trained sequence model into a bundle (needs the extra 'export')",
    "verify": "replay a bundle's golden frames here, on every variant and backend",
    "inspect": "say what a bundle is",
    "warmup": "compile the native engine's kernels for this machine ahead of time",
    "bridge": "microcontrollers on serial ports: list, watch, record, simulate",
    "schema": "print the JSON Schema of what subscribers are sent",
    "service": "make a configuration a service of systemd",
    "doctor": "say what this machine has and lacks for running well",
    "bench": "measure a bundle's latency on this device",
}
OVERVIEW = """\
Runs trained sequence models one time step at a time on the device beside the machine.

usage: edgeseq COMMAND [...]

{commands}

`edgeseq COMMAND --help` explains a command. Every command that reports takes --json.
Exit status: 0 done, 1 failed, 2 usage or configuration, 130 interrupted.
Start with: edgeseq demo"""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    stdio.ready()
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except EdgeseqError as error:
        if not error.said:
            print(f"edgeseq: {error}", file=sys.stderr)  # noqa: T201 - the user's error
        return USAGE if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        print("edgeseq: interrupted", file=sys.stderr)  # noqa: T201 - the user's own doing
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`edgeseq ... | head`): nothing is left to say.
        _abandon_output()
        return FAILED
    except OSError as error:
        # Mostly a disk that is full, with our output on it.
        _abandon_output()
        where = error.filename or "the output"
        print(f"edgeseq: {where}: {error.strerror or error}.", file=sys.stderr)  # noqa: T201 - the user's error
        return FAILED
    return status


def _run(arguments: list[str]) -> int:
    """Find the command and run it."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
        print(OVERVIEW.format(commands=commands))  # noqa: T201 - the command's output
        return DONE if arguments else USAGE
    if arguments[0] == "--version":
        from edgeseq import __version__

        print(f"edgeseq {__version__}")  # noqa: T201 - the command's output
        return DONE
    command = _find(arguments[0])
    parser = argparse.ArgumentParser(
        prog=f"edgeseq {arguments[0]}",
        description=command.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.arguments(parser)
    return int(command.main(parser.parse_args(arguments[1:])))


def _abandon_output() -> None:
    """Let nothing be written to stdout any more, so that Python does not fail once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _find(name: str) -> ModuleType:
    """Import the command's module: HELP, arguments(parser) and main(args) -> exit status.

    A command outside the runtime (export) announces itself as an entry point of the group edgeseq.commands.
    """
    if name not in COMMANDS:
        from edgeseq.tables import suggest

        raise ConfigError(f"there is no command '{name}'. {suggest(name, COMMANDS)}")
    found = entry_points(group="edgeseq.commands", name=name)
    try:
        return importlib.import_module(next(iter(found)).value if found else f"edgeseq.commands.{name}")
    except ModuleNotFoundError as cause:
        if not found:
            raise
        raise ConfigError(
            f"'{name}' needs {cause.name}, which is not installed: pip install 'edgeseq[{name}]'."
        ) from cause


if __name__ == "__main__":
    sys.exit(main())
