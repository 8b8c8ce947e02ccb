"""What verify makes of goldens that are damaged, cut or swapped, and of outputs in units of their own."""

from __future__ import annotations

import contextlib
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_exporter import resum

from edgeseq import bundle as bundles
from edgeseq.errors import BundleError, ModelError
from edgeseq.verification import goldens, verify

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def copy(gru_bundle: bundles.Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gru_bundle.path, tmp_path / "b"))


CHANGES: dict[str, Callable[[Arrays], Any]] = {
    "steps beyond the end": lambda a: a.update(at=a["at"] + 10**6),
    "steps before the start": lambda a: a.update(at=-1 - a["at"]),
    "steps as floats": lambda a: a.update(at=a["at"].astype(float)),
    "frames of text": lambda a: a.update(frames=np.full((9, 5), "x")),
    "frames too wide": lambda a: a.update(frames=np.zeros((1000, 7), np.float32)),
    "outputs too narrow": lambda a: a.update(outputs=a["outputs"][:, :1]),
    "outputs flat": lambda a: a.update(outputs=a["outputs"][:, 0]),
    "outputs not finite": lambda a: a.update(outputs=a["outputs"] * np.nan),
    "integers missing": lambda a: a.pop("int8.integers"),
    "integers of one step": lambda a: a.update({"int8.integers": a["int8.integers"][:1]}),
    "scale missing": lambda a: a.pop("int8.scale"),
    "scale of text": lambda a: a.update({"int8.scale": np.array("x")}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_goldens_that_do_not_fit_are_refused(what: str, copy: Path) -> None:
    with np.load(copy / bundles.GOLDENS) as file:
        arrays = dict(file)
    CHANGES[what](arrays)
    np.savez(copy / bundles.GOLDENS, **arrays)
    resum(copy)
    with pytest.raises((BundleError, ModelError)):
        verify.verify(bundles.read(copy))


def _archive(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


def _array(array: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _endless() -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (10**13, 5)})
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        _array(np.zeros(3)),
        _archive({"frames.npy": _array(np.array([{}], dtype=object)), "at.npy": b"", "outputs.npy": b""}),
        _archive({"frames.npy": _endless(), "at.npy": b"", "outputs.npy": b""}),
        _archive({"frames": b"x", "at": b"x", "outputs": b"x"}),
    ],
)
def test_what_is_no_archive_of_arrays_is_refused(content: bytes, copy: Path) -> None:
    (copy / bundles.GOLDENS).write_bytes(content)
    resum(copy)
    with pytest.raises(BundleError, match=r"parity\.npz"):
        verify.verify(bundles.read(copy))


def test_any_flipped_byte_of_the_archive_is_refused_or_harmless(copy: Path) -> None:
    whole = (copy / bundles.GOLDENS).read_bytes()
    bundle = bundles.read(copy)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        (copy / bundles.GOLDENS).write_bytes(damaged)
        with contextlib.suppress(BundleError):
            goldens.read(bundle)


def test_each_output_is_held_to_its_own_tolerance() -> None:
    """An error that is nothing in cycles is everything in a probability."""
    errors = np.full((10, 2), 0.1)
    found = verify.worst(errors, "rms", np.array([1.6, 0.004]))
    assert (found.output, found.passed, found.tolerance) == (1, False, 0.004)
    assert verify.worst(errors, "rms", np.array([1.6, 0.4])).passed
    assert not verify.worst(np.array([[np.nan, 0.0]]), "max", np.array([1.0, 1.0])).passed
    assert verify.worst(np.zeros((3, 2)), "max", np.zeros(2)).passed
    assert not verify.worst(np.array([[0.0, 1e-9]]), "max", np.zeros(2)).passed
