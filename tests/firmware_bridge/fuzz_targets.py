"""What fuzz_wire.py lets a fuzzer loose on, in a process that the fuzzer ends: CORPUS SECONDS."""

import sys

import atheris

with atheris.instrument_imports(include=["firmware_bridge"]):
    from firmware_bridge import decoder, framing, lines, link, messages

READERS = (lines.csv(["a", "b"], ["b"], ","), lines.json_lines(["a.b"]), lines.pattern(["a"], r"a=(?P<a>\S+)"))
LARGEST = 3.5e38


def pieces(data: bytes) -> None:
    """Any cut into pieces gives the same, and memory is bounded."""
    size = data[0] + 1
    whole, cut = decoder.Decoder(), decoder.Decoder()
    got = [message for at in range(0, len(data), size) for message in cut.feed(data[at : at + size])]
    assert whole.feed(data) == got
    assert (whole.stats, whole._rest) == (cut.stats, cut._rest)
    assert len(whole._rest) <= framing.MAX_ENCODED + 1


def contents(data: bytes) -> None:
    """What is understood is understood again when it is sent again."""
    taking = decoder.Decoder()
    for message in taking.feed(sealed(data[: framing.MAX_CONTENTS - 1])):
        assert decoder.Decoder().feed(messages.encode(message)) == [message]
    assert taking.stats.good + taking.stats.unknown == 1


def connection(data: bytes) -> None:
    """A device may say anything, at any time."""
    there = link.Link()
    for number, at in enumerate(range(0, len(data), 24)):
        now_ns = number * 1_000_000
        for message in there.receive(sealed(data[at : at + 24]), now_ns):
            if isinstance(message, messages.Samples):
                there.first_ns(message)
        there.ping(now_ns)


def text(data: bytes) -> None:
    """A line is a row of numbers that float32 holds, or none."""
    taking = lines.LineDecoder(READERS[data[0] % len(READERS)])
    taking.feed(b"\n")
    for row in taking.feed(data[1:]):
        assert row is None or all(abs(value) < LARGEST for value in row)


def sealed(rest: bytes) -> bytes:
    return framing.seal((b"\1" + rest).ljust(9, b"\0"))


TARGETS = (pieces, contents, connection, text)


def one(data: bytes) -> None:
    if len(data) > 1:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    corpus, seconds, seed = sys.argv[1:]
    limits = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        "-timeout=20",
        "-rss_limit_mb=1024",
        "-max_len=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup(["fuzz", corpus, *limits, f"-artifact_prefix={corpus}/../"], one)
    atheris.Fuzz()
