"""Made-up bearings on disk, in the form of the test rig's files."""

import io
import tarfile
from pathlib import Path

from zoo.bearing.data import RECORD_S, Run


def texts(run: Run, separator: str = ",") -> dict[str, str]:
    """The records' files: hour, minute, second, microsecond and the two axes, without a header."""
    found = {}
    for t_s, record in zip(run.t_s.tolist(), run.samples, strict=True):
        rows = [
            separator.join(["9", "39", "39", f"{65664 + 39 * i:.4e}", f"{one:.3f}", f"{two:.3f}"])
            for i, (one, two, _) in enumerate(record.tolist())
        ]
        found[f"acc_{t_s // RECORD_S + 1:05}.csv"] = "\n".join(rows) + "\n"
    return found


def loose(folder: Path, name: str, run: Run) -> None:
    """Write a bearing as a folder of files."""
    (folder / name).mkdir(parents=True)
    for file, text in texts(run, ";").items():
        (folder / name / file).write_text(text, "ascii")


def packed(folder: Path, name: str, run: Run) -> None:
    """Write a bearing as an archive."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}.tar.xz", "w:xz", preset=0) as archive:
        for file, text in texts(run).items():
            member = tarfile.TarInfo(f"./Learning_set/{name}/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
