"""`edgeseq export`: a trained sequence model in, a bundle out."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseq.errors import ConfigError

if TYPE_CHECKING:
    from edgeseq.bundle import Bundle

HELP = """\
Turns a trained sequence model into a stateful one-step model, quantizes it, and proves that it still computes the same
before anything is written.

SOURCE is a .onnx or .keras file, or FILE.py:FUNCTION, a function without arguments that returns (module, example): a
PyTorch module and one example input, [batch, time, features].

examples:
  edgeseq export model.py:trained --weights trained.pt --output my-bundle --calibration frames.npz
  edgeseq export model.onnx --output my-bundle --variants float32 --time-axis 1
  edgeseq export model.onnx --output my-bundle --about about.toml --json

about.toml says what the model file cannot: name, version, [stream] with its channels, [[features]], [output] and
[decider], as they will stand in bundle.toml."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help=".onnx or .keras file, or file.py:function")
    parser.add_argument("--output", type=Path, required=True, metavar="BUNDLE", help="folder to write")
    parser.add_argument(
        "--variants",
        metavar="LIST",
        help="comma-separated; default: all of float32,int8,w8a16 that the model has a form for; also float16,w8",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE",
        help="real frames as the model takes them: .npy or .csv (one sequence), .npz (one a member), or a bundle's "
        "own; of an encoder-decoder: .npz with sources, source_lengths, targets, target_lengths",
    )  # fmt: skip
    parser.add_argument(
        "--state", choices=["carry"], help="what to do with a model that gives its last step's output only"
    )
    parser.add_argument(
        "--window", type=int, metavar="N", help="run the whole model over the last N frames, each frame"
    )
    parser.add_argument(
        "--restart", type=int, metavar="N", help="the same outputs from N states restarted in turn (recurrent models)"
    )
    parser.add_argument(
        "--attention-window", type=int, metavar="W", help="how many steps attention without a band mask sees"
    )
    parser.add_argument(
        "--max-steps", type=int, metavar="N", help="frames after which the stream is reset, for learned positions"
    )
    parser.add_argument("--input", metavar="NAME", help="the input that carries the frames")
    parser.add_argument(
        "--example", type=Path, metavar="FILE",
        help=".npy (.npz by names) of an ONNX model's input, where the file leaves its number of features open",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a PyTorch module's state_dict, saved with torch.save"
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE",
        help="raw samples of the stream for the feature chain's goldens: what `edgeseq features` reads",
    )  # fmt: skip
    parser.add_argument("--time-axis", type=int, metavar="AXIS", help="the input's axis along which time runs")
    parser.add_argument("--about", type=Path, metavar="FILE", help="TOML with name, stream, features, output, decider")
    parser.add_argument(
        "--default", metavar="VARIANT", help="the variant that `auto` loads (default: int8; an encoder-decoder's first)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")


def main(args: argparse.Namespace) -> int:
    """Export; exit status 1 if the model cannot be exported."""
    from rich.console import Console  # noqa: PLC0415

    try:
        from export import display, export, summary  # noqa: PLC0415 - `edgeseq export --help` stays quick
    except ModuleNotFoundError as cause:
        raise ConfigError(f"exporting needs '{cause.name}': pip install 'edgeseq[export]'.") from cause

    variants = None if args.variants is None else [word.strip() for word in args.variants.split(",") if word.strip()]
    options = {
        "calibration": args.calibration, "variants": variants,
        "state": args.state, "window": args.window, "restart": args.restart,
        "attention_window": args.attention_window, "max_steps": args.max_steps, "input": args.input,
        "time_axis": args.time_axis, "example": args.example, "weights": args.weights, "about": args.about,
        "default": args.default, "samples": args.samples,
    }  # fmt: skip
    # The source is the user's code and may print; stdout is for the result alone.
    with contextlib.redirect_stdout(sys.stderr):
        if args.json:
            bundle = export(args.source, args.output, **options)
        else:
            with display.shown(Console(stderr=True)) as progress:
                bundle = export(args.source, args.output, **options, progress=progress)
    if args.json:
        print(json.dumps(document(bundle), indent=2))  # noqa: T201 - the command's output
    else:
        summary.show(bundle, Console())
    return 0


def document(bundle: Bundle) -> dict[str, object]:
    """Return the command's JSON document."""
    import msgspec  # noqa: PLC0415 - only here

    entries = [msgspec.to_builtins(entry) for entry in bundle.manifest.parity]
    return {"bundle": str(bundle.path), "variants": entries}
