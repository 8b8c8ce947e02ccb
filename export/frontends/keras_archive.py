"""The `.keras` file as bytes: a zip of config.json, metadata.json and model.weights.h5, read and never executed.

A `.keras` file from anywhere may hold pickled code (Lambda layers), paths that leave its folder, HDF5 links to other
files, or sizes that fill the memory. So nothing is unpacked to disk or unpickled, sizes are capped before anything is
read, and a weight must lie in the file itself.
Source: the layout that keras.saving writes (Keras 3, `saving_lib.py`); written anew from the files it makes.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.graph import first_line

MAX_BYTES = 2 << 30
MAX_JSON_BYTES = 16 << 20
MAX_ENTRIES = 10_000
MAX_RATIO = 200
"""Keras stores its weights uncompressed; a member that grows more than this when unpacked is a bomb."""

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LINK_TYPE = 0o170000
ENCRYPTED = 0x1


class Archive:
    """An opened `.keras` file. config: the model's description. sha256: of the whole file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ExportError(f"{path}: there is no such file.")
        if path.stat().st_size > MAX_BYTES:
            raise ExportError(f"{path}: larger than {MAX_BYTES >> 30} GiB.")
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._check_entries(archive)
                self.config = self._json(archive, CONFIG)
                metadata = self._json(archive, METADATA)
                weights = self._member(archive, WEIGHTS, MAX_BYTES)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as cause:
            raise ExportError(
                f"{path}: is no readable .keras file ({first_line(cause)}). It may be damaged or cut short; save it "
                "again with model.save(...). A model in the older .h5 format must be saved as .keras first."
            ) from cause
        self.version = str(metadata.get("keras_version", "unknown"))
        if not self.version.startswith("3."):
            raise ExportError(
                f"{path}: was written by Keras {self.version}; Keras 3 is read. Load it with Keras 3 and save it again."
            )
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self._size = len(weights)
        try:
            self._weights = h5py.File(io.BytesIO(weights), "r")
        except Exception as cause:
            raise ExportError(f"{path}: its {WEIGHTS} is no HDF5 file ({first_line(cause)}).") from cause

    def variables(self, group: str) -> tuple[NDArray[np.float32], ...]:
        """Return the variables of a layer or cell (such as layers/lstm/cell) in order; () where it has none.

        Attributes are never read: their texts lie in a heap in which a damaged file makes HDF5 go round for ever.
        """
        found: tuple[NDArray[np.float32], ...] = self._guarded(group, self._variables)
        return found

    def _guarded(self, group: str, read: Callable[[str], Any]) -> Any:
        """Read from HDF5, whose library raises whatever a damaged file makes it raise."""
        try:
            return read(group)
        except ExportError:
            raise
        except Exception as cause:
            raise ExportError(
                f"{self.path}: the weights at '{group}' cannot be read ({first_line(cause)}); the file is damaged."
            ) from cause

    def _variables(self, group: str) -> tuple[NDArray[np.float32], ...]:
        place = self._open(f"{group}/vars", h5py.Group)
        return () if place is None else tuple(self._variable(f"{group}/vars/{index}") for index in range(len(place)))

    def _variable(self, name: str) -> NDArray[np.float32]:
        data = self._open(name, h5py.Dataset)
        if data is None:
            raise ExportError(f"{self.path}: the weight '{name}' is missing.")
        if data.external or data.is_virtual:
            raise ExportError(f"{self.path}: the weight '{name}' lies in another file; it is not read.")
        # A declared shape costs nothing to write and everything to read: it must fit into the file it came in.
        if data.nbytes > self._size:
            raise ExportError(f"{self.path}: the weight '{name}' claims the shape {data.shape}, more than the file is.")
        if data.dtype.kind not in "fi" or (data.dtype.kind == "f" and data.dtype.itemsize != 4):  # noqa: PLR2004
            raise ExportError(f"{self.path}: the weight '{name}' is of the type {data.dtype}; float32 is expected.")
        values = np.asarray(data[()], np.float32)
        if not np.isfinite(values).all():
            raise ExportError(f"{self.path}: the weight '{name}' holds NaN or infinity.")
        return values

    def _open(self, name: str, kind: type) -> Any:
        """Follow a path of plain groups, never a link that leaves the file; None where it ends."""
        place: Any = self._weights
        for part in name.split("/"):
            link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise ExportError(f"{self.path}: '{name}' is a link to somewhere else; it is not followed.")
            place = place[part]
        return place if isinstance(place, kind) else None

    def _check_entries(self, archive: zipfile.ZipFile) -> None:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ExportError(f"{self.path}: holds {len(entries):,} entries, more than any model has.")
        names = [entry.filename for entry in entries]
        if len(set(names)) != len(names):
            raise ExportError(f"{self.path}: holds an entry twice.")
        for entry in entries:
            location = PurePosixPath(entry.filename)
            if location.is_absolute() or ".." in location.parts or "\\" in entry.filename or ":" in entry.filename:
                raise ExportError(f"{self.path}: the entry '{entry.filename}' leads out of its folder; it is not read.")
            if stat.S_ISLNK((entry.external_attr >> 16) & LINK_TYPE):
                raise ExportError(f"{self.path}: the entry '{entry.filename}' is a link; it is not read.")

    def _member(self, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
        try:
            entry = archive.getinfo(name)
        except KeyError:
            raise ExportError(f"{self.path}: holds no {name}; it is no .keras file, or not a whole one.") from None
        if entry.flag_bits & ENCRYPTED:
            raise ExportError(f"{self.path}: {name} is encrypted.")
        if entry.file_size > limit or entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise ExportError(f"{self.path}: {name} claims {entry.file_size:,} bytes, which is more than is read.")
        with archive.open(entry) as file:
            return file.read(limit)

    def _json(self, archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
        text = self._member(archive, name, MAX_JSON_BYTES)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as cause:
            raise ExportError(f"{self.path}: {name} is no JSON ({first_line(cause)}).") from cause
        if not isinstance(content, dict):
            raise ExportError(f"{self.path}: {name} is no JSON object.")
        return content
