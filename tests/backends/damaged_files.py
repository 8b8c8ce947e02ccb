"""Damages native programs at random and opens and runs what is left: `python damaged_files.py FOLDER FIRST COUNT`.

FOLDER holds programs, `<name>.npz`, each with `<name>.json`: how bundle.toml would describe it. Every seed from FIRST
on damages each of them in its way; it is printed before its file is opened, for what would crash the process. What a
kernel reads or writes beyond a buffer does that: a page that cannot be touched stands behind each, or before it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import itertools
import json
import math
import mmap
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq import backends
from edgeseq.backends.native.plan import LINE, Memory, Plan, address
from edgeseq.backends.native.program import DESCRIPTION
from edgeseq.bundle import Graph, HeldTable, ModelFile
from edgeseq.errors import ModelError

FRAMES = 24
LENGTHS = FRAMES, 1, 9
"""Of sources, where there are such."""
MEMORY = 6 << 30
TYPES = ["i1", "i2", "i4", "i8", "f2", "f4", "f8", ">f4", "c8", "U3", "?"]
libc, turns = ctypes.CDLL(None, use_errno=True), itertools.count()
Arrays = dict[str, np.ndarray[Any, Any]]


def flipped(rng: np.random.Generator, content: bytes) -> bytes:
    """Change some bytes, or cut the file."""
    if rng.random() < 0.2:
        return content[: int(rng.integers(len(content)))]
    changed = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, len(changed), int(rng.integers(1, 5)))
    changed[places] = rng.integers(0, 256, len(places))
    return changed.tobytes()


def leaves(node: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON document as (what holds it, its key there)."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [place for key in keys for place in [(node, key), *leaves(node[key])]]


def reworded(rng: np.random.Generator, document: Any) -> None:
    """Change, drop or repeat something in the description."""
    holder, key = _any(rng, leaves(document))
    value = holder[key]
    if rng.random() < 0.15 and isinstance(holder, list):
        holder.insert(int(rng.integers(len(holder) + 1)), _any(rng, holder))
    elif rng.random() < 0.1:
        del holder[key]
    elif isinstance(value, bool | int | float):
        far = [255, 1 << 20, 1 << 31, 1 << 62, -(1 << 63), 0.5, 1e30]
        holder[key] = _any(rng, [value + 1, value - 1, -value, value * 2, 0, 1, 2, -1, *far])
    elif isinstance(value, str):
        words = [held[k] for held, k in leaves(document) if isinstance(held[k], str)]
        holder[key] = _any(rng, [*words, "", "float32", "int8", "int16", "int64", "bool", "Linear", "Gather", "Concat"])
    elif isinstance(value, list) and value:
        holder[key] = _any(rng, [value[:-1], [*value, value[-1]], value[::-1], []])
    else:
        holder[key] = None


def rearranged(rng: np.random.Generator, arrays: Arrays) -> None:
    """Drop an array, or give it another shape, type or content."""
    names = [name for name in arrays if name != DESCRIPTION]
    name, other = _any(rng, names), _any(rng, names)
    array = arrays[name]
    ways: list[Callable[[], Any]] = [
        lambda: arrays.pop(name),
        lambda: arrays.update({name: arrays[other]}),
        lambda: arrays.update({name: array.T}),
        lambda: arrays.update({name: array[..., :-1] if array.ndim else array[None]}),
        lambda: arrays.update({name: array.reshape(-1)}),
        lambda: arrays.update({name: array[None]}),
        lambda: arrays.update({name: np.zeros((0, *array.shape), array.dtype)}),
        lambda: arrays.update({name: array.astype(_any(rng, TYPES))}),
        lambda: arrays.update({name: (array.astype(np.float64) * _any(rng, [-1, 1e6, 1e30])).astype(array.dtype)}),
    ]
    _any(rng, ways)()


def damaged(path: Path, seed: int, to: Path) -> None:
    """Write a damaged copy of a program."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.25:
        to.write_bytes(flipped(rng, path.read_bytes()))
        return
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.7:
            document = json.loads(arrays[DESCRIPTION].tobytes())
            reworded(rng, document)
            arrays[DESCRIPTION] = np.frombuffer(json.dumps(document).encode(), np.uint8)
        else:
            rearranged(rng, arrays)
    with to.open("wb") as out, np.errstate(all="ignore"):
        np.savez(out, **arrays)  # type: ignore[arg-type]


def room(size: int) -> tuple[mmap.mmap, int]:
    """Return memory between pages that cannot be touched, and where so many bytes stand in it.

    They begin with a cache line and have one behind their end. They lie at the first of these or at the last, in turn.
    """
    inner = -(-(size + LINE) // mmap.PAGESIZE) * mmap.PAGESIZE
    if inner > MEMORY // 4:
        raise ValueError("takes more memory than the test has")
    made = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
    first = address(np.frombuffer(made, np.uint8))
    for page in (first, first + mmap.PAGESIZE + inner):
        assert not libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0)
    at_end = mmap.PAGESIZE + (inner - LINE - size) // LINE * LINE
    return made, at_end if next(turns) % 2 else mmap.PAGESIZE


def guarded(plan: Plan, shape: Sequence[int], dtype: Any) -> np.ndarray[Any, Any]:
    """Return a new array as Plan.buffer does, in such memory."""
    made, start = room(math.prod(shape) * np.dtype(dtype).itemsize)
    return plan.keep(np.frombuffer(made, dtype, math.prod(shape), start).reshape(shape))


def sliding(plan: Plan, shape: Sequence[int], dtype: Any) -> tuple[np.ndarray[Any, Any], Memory]:
    """Return a new array as Plan.sliding does, in such memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    made, start = room(size)
    memory = Memory(size, np.uint8, made, start)
    memory.slots = []
    return plan.keep(memory.view(np.ndarray).view(dtype).reshape(shape)), memory


def memory(rng: np.random.Generator, entry: HeldTable, length: int) -> np.ndarray[Any, Any]:
    """Return what a decoder may hold of a source."""
    shape = [length if size == -1 else size for size in entry.shape]
    return rng.normal(size=shape).astype(entry.dtype)


def tried(path: Path, graph: Graph, file: ModelFile) -> bool:
    """Open and run a program for one stream and for some; say whether it went through."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(min(FRAMES, graph.max_steps or FRAMES), sum(graph.widths))).astype(np.float32)
    for place, count in graph.tokens.items():
        rows[:, place] = rng.integers(0, count, len(rows))
    try:
        if graph.whole:
            encoder = backends.open_whole(path, "native", graph, file)
            for length in LENGTHS:
                encoder(rows[:length], {entry.name: memory(rng, entry, length) for entry in graph.held})
            return True
        model: Any = backends.open_file(path, "native", graph, file)
        for length in LENGTHS if graph.held else ():
            model.hold({entry.name: memory(rng, entry, length) for entry in graph.held})
            model.run(rows)
            model.fork().run(rows[:3])
            model.reset()
        model.run(rows)
        model.flush()
        model.set_state(model.get_state())
        if not graph.held:
            many = backends.open_file(path, "native", graph, file, 5)
            many.run(np.repeat(rows[:, None], 5, axis=1))
    except ModelError as cause:
        said = str(cause)
    else:
        return True
    assert said.startswith(str(path)), said
    assert "\n" not in said, said
    return False


def _any(rng: np.random.Generator, what: list[Any]) -> Any:
    return what[int(rng.integers(len(what)))]


def main(folder: Path, first: int, count: int) -> None:
    """Try every program with every seed; print how many went through."""
    faulthandler.enable()
    Plan.buffer, Plan.sliding = guarded, sliding  # type: ignore[method-assign]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    good = 0
    with tempfile.TemporaryDirectory() as scratch:
        to = Path(scratch) / "step.npz"
        for path in sorted(folder.glob("*.npz")):
            graph, file = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=tuple[Graph, ModelFile])
            assert tried(path, graph, file), path
            for seed in range(first, first + count):
                print(path.stem, seed, flush=True)  # noqa: T201 - what a crash is known by
                damaged(path, seed, to)
                good += tried(to, graph, file)
    print(f"{good} went through")  # noqa: T201 - for whoever runs it


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
