"""What every feature of ours has beside its class: a reference that a test holds it to, a kernel, a source."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from edgeseq import features, jit, plugins

NAMES = [name for name in plugins.known("features") if plugins.find("features", name).__module__.startswith("edgeseq.")]
PACKAGE = features.__name__
TESTS = {path: ast.parse(path.read_text("utf-8")) for path in Path(__file__).parent.glob("test_*.py")}


def imported(tree: ast.Module) -> dict[str, str]:
    """Return what each name stands for that a file imports."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def called(tree: ast.Module) -> Iterator[str]:
    """Yield the whole names of what a file calls, of functions and of what stands in modules."""
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            yield f"{names.get(first, first)}.{rest}".rstrip(".")


def is_of(name: str, module: str) -> bool:
    return f"{name}.".startswith(f"{module}.")


def explained(name: str) -> tuple[ModuleType, str]:
    module = importlib.import_module(f"{PACKAGE}.{name}")
    return module, inspect.getdoc(plugins.find("features", name)) or ""


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_that_a_test_holds_it_to(name: str) -> None:
    """The file's function `reference`, or what the class's docstring says: Reference: `_shared.reference`."""
    module, text = explained(name)
    elsewhere = re.search(r"\bReference\b[^`]*?:\s*`([\w.]+)`", text)
    assert elsewhere or inspect.isfunction(getattr(module, "reference", None)), "there is no reference"
    reference = elsewhere[1] if elsewhere else f"{name}.reference"
    whole = f"{PACKAGE}.{reference}" if elsewhere is None or reference.startswith("_") else reference
    holding = [
        path.name
        for path, tree in TESTS.items()
        if any(is_of(each, module.__name__) for each in imported(tree).values()) and whole in called(tree)
    ]
    assert holding, f"no test of {name} calls {whole}"


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_or_why_there_is_none(name: str) -> None:
    """In the file, in one that it shares with others, or as the class's docstring says: No kernel: ..."""
    module, text = explained(name)
    tree = ast.parse(inspect.getsource(module))
    shared = {
        each.removeprefix(f"{PACKAGE}.").split(".")[0] for each in imported(tree).values() if is_of(each, PACKAGE)
    }
    files = [module, *(importlib.import_module(f"{PACKAGE}.{each}") for each in sorted(shared))]
    kernels = [value for file in files for value in vars(file).values() if isinstance(value, jit.Function)]
    assert bool(kernels) != ("No kernel: " in text)


@pytest.mark.parametrize("name", NAMES)
def test_a_source(name: str) -> None:
    module, _ = explained(name)
    assert re.search(r"\bSources?: \S", inspect.getsource(module))
