"""The process of one case: `python -m edgeseq.bench` measures the case on stdin and answers on stdout."""

from __future__ import annotations

import sys

import msgspec

from edgeseq import helpers
from edgeseq.bench import scheduling
from edgeseq.bench.case import Case, Failed
from edgeseq.errors import EdgeseqError


def main() -> int:
    """Measure and answer."""
    helpers.end_with_parent()
    case = msgspec.json.decode(sys.stdin.buffer.read(), type=Case)
    try:
        # Before libraries load: their threads take over both from the thread that starts them.
        scheduling.apply(case.cpus, case.fifo_priority)
        from edgeseq.bench import child  # noqa: PLC0415

        _answer(child.rehearse(case) if case.rehearsal else child.run(case))
    except EdgeseqError as error:
        _answer(Failed(str(error)))
    return 0


def _answer(answer: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    sys.exit(main())
