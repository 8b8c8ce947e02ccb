"""Recorded data as files: which source reads one, by its ending, and which files a command reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeseq.errors import ConfigError
from edgeseq.tables import suggest

SOURCES = {".csv": "csv", ".parquet": "parquet", ".wav": "audio", ".flac": "audio", ".ogg": "audio"}


@dataclass(frozen=True, slots=True)
class Job:
    """A file to read and the file to write of it."""

    data: Path
    output: Path


@dataclass(frozen=True, slots=True)
class Jobs:
    """All there is to do. left_out: files in the folders that no source reads."""

    jobs: Sequence[Job]
    left_out: Sequence[Path]


def jobs(inputs: Sequence[Path], output: Path, endings: Sequence[str], ending: str) -> Jobs:
    """Pair each input with its output.

    One file goes to `output` where that ends in one of `endings`. Everything else goes below the folder `output`, each
    file under its own name with `ending`, files of a folder (searched through, hidden ones left alone) in the folders
    they stood in. Raises ConfigError where two would be written to one place, and where inputs would be overwritten.
    """
    for path in inputs:
        if not path.exists():
            raise ConfigError(f"--input: {path}: there is no such file or folder.")
    if len(inputs) == 1 and inputs[0].is_file() and output.suffix in endings:
        _readable(inputs[0])
        found = Jobs([Job(inputs[0], output)], [])
    else:
        if output.is_file() or output.suffix in endings:
            raise ConfigError(f"--output: {output} is a file; several inputs, or a folder, need a folder to write to.")
        found = _into_folder(inputs, output, ending)
    _check(found.jobs)
    return found


def _into_folder(inputs: Sequence[Path], output: Path, ending: str) -> Jobs:
    pairs: list[Job] = []
    left_out: list[Path] = []
    for path in inputs:
        if path.is_file():
            _readable(path)
            pairs.append(Job(path, output / f"{path.stem}{ending}"))
            continue
        if output.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"--output: {output} lies in {path}, which is read; its files would be inputs next time.")
        within = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path))]
        for file in within:
            if file.suffix.lower() in SOURCES:
                pairs.append(Job(file, output / file.relative_to(path).with_suffix(ending)))
            else:
                left_out.append(file)
    if not pairs:
        raise ConfigError(f"--input: nothing to read there: no file ends in {', '.join(SOURCES)}.")
    return Jobs(pairs, left_out)


def _check(pairs: Sequence[Job]) -> None:
    read = {pair.data.resolve() for pair in pairs}
    written: dict[Path, Path] = {}
    for pair in pairs:
        place = pair.output.resolve()
        if place in read:
            raise ConfigError(f"--output: {pair.output} is a file that is read.")
        other = written.setdefault(place, pair.data)
        if other != pair.data:
            raise ConfigError(f"{other} and {pair.data} would both be written to {pair.output}. Rename one of them.")


def _readable(path: Path) -> None:
    if path.suffix.lower() not in SOURCES:
        raise ConfigError(f"--input: {path}: its ending tells what it is. {suggest(path.suffix, SOURCES)}")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
