"""Who may import whom, read from the source, and what `import edgeseq` may not load."""

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("edgeseq", "export", "firmware_bridge", "zoo")
PLUGINS = tuple(
    f"edgeseq.{each}"
    for each in ("types", "errors", "states", "jit", "pointers", "direct", "tables", "libraries", "broker", "bearings")
)

# Module -> what of ours it may import, the first pattern that fits. A module may always import its own package's files.
MAY_IMPORT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("edgeseq.types", ()),
    ("edgeseq.errors", ()),
    ("edgeseq.cache", ()),
    ("edgeseq.sums", ()),
    ("edgeseq.states", ("edgeseq.types", "edgeseq.errors")),
    ("edgeseq.jit", ("edgeseq.errors", "edgeseq.cache", "edgeseq.sums")),
    ("edgeseq.pointers", ()),
    ("edgeseq.direct", ("edgeseq.jit", "edgeseq.pointers")),
    ("edgeseq.tables", ("edgeseq.errors",)),
    ("edgeseq.libraries", ("edgeseq.errors",)),
    ("edgeseq.models.stepping", ("edgeseq.types", "edgeseq.errors")),
    ("edgeseq.plugins", ("edgeseq.tables", "edgeseq.errors")),
    ("edgeseq.checksums", ("edgeseq.errors",)),
    ("edgeseq.bearings", ("edgeseq.errors", "edgeseq.tables")),
    ("edgeseq.broker", ("edgeseq.errors",)),
    (
        "edgeseq.bundle",
        tuple(f"edgeseq.{name}" for name in ["types", "errors", "tables", "checksums", "gaps", "parts"]),
    ),
    # It checks the bundle's tables, and imports no more than their types.
    ("edgeseq.parts", ("edgeseq.bundle", "edgeseq.tables")),
    ("edgeseq.outbox*", ("edgeseq.types", "edgeseq.errors")),
    ("edgeseq.timing", ()),
    ("edgeseq.collector", ()),
    ("edgeseq.machine", ()),
    ("edgeseq.clock", ()),
    ("edgeseq.verification.verdicts", ("edgeseq.cache",)),
    ("edgeseq.feature_chain", ("edgeseq.types", "edgeseq.errors", "edgeseq.states")),
    ("edgeseq.gaps", ("edgeseq.types",)),
    (
        "edgeseq.pipeline*",
        tuple(
            f"edgeseq.{name}" for name in ["types", "errors", "states", "feature_chain", "gaps", "collector", "timing"]
        ),
    ),
    ("edgeseq.sources.serial", (*PLUGINS, "firmware_bridge*")),
    ("edgeseq.sources._device*", (*PLUGINS, "firmware_bridge*")),
    ("edgeseq.sources*", PLUGINS),
    # It makes the features that it is given as tables.
    ("edgeseq.features.side_by_side", (*PLUGINS, "edgeseq.plugins")),
    ("edgeseq.features*", PLUGINS),
    ("edgeseq.deciders*", PLUGINS),
    # A backend is opened with a bundle; what a sink says has a clock's opinion of itself.
    ("edgeseq.sinks*", (*PLUGINS, "edgeseq.clock")),
    ("edgeseq.backends*", (*PLUGINS, "edgeseq.bundle", "edgeseq.models.stepping")),
    # A stage that runs a file opens it as its backend does.
    ("edgeseq.stages*", (*PLUGINS, "edgeseq.backends*")),
    ("edgeseq.models.chain", ("edgeseq.types", "edgeseq.models.stepping")),
    (
        "edgeseq.wiring",
        ("edgeseq.types", "edgeseq.errors", "edgeseq.tables", "edgeseq.plugins", "edgeseq.models.chain"),
    ),
    ("edgeseq.commands.bridge", ("edgeseq*", "firmware_bridge*")),
    ("edgeseq.bridge*", ("edgeseq*", "firmware_bridge*")),
    ("edgeseq*", ("edgeseq*",)),
    ("firmware_bridge*", ()),
    ("export*", ("edgeseq*",)),
    ("zoo*", ("edgeseq*", "export*")),
)
HEAVY = (
    "onnxruntime",
    "numba",
    "rocket_fft",
    "ai_edge_litert",
    "tflite_runtime",
    "paho",
    "iotcore",
    "rich",
    "pyarrow",
    "onnx",
    "torch",
    "sounddevice",
    "soundfile",
    "tokenizers",
    "drain3",
    "serial",
)


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def ours_imported(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) for each import of ours, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
            found = [target(f"{base}.{alias.name}") or base for alias in node.names]
        for module in found:
            if module.split(".")[0] in PACKAGES:
                yield node.lineno, module


def target(name: str) -> str | None:
    """Return the name if it is a module of ours: `from edgeseq import tables` imports edgeseq.tables."""
    path = ROOT.joinpath(*name.split("."))
    return name if path.with_suffix(".py").is_file() or path.is_dir() else None


def allowed(name: str, imported: str) -> bool:
    package = ".".join(name.split(".")[:2]) if name.startswith("edgeseq.") else name.split(".", maxsplit=1)[0]
    same = package != "edgeseq" and (imported == package or imported.startswith(f"{package}."))
    patterns = next(may for pattern, may in MAY_IMPORT if fnmatch.fnmatchcase(name, pattern))
    return same or any(fnmatch.fnmatchcase(imported, pattern) for pattern in patterns)


def test_imports_go_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name} may not import {imported}"
        for name, path in modules()
        for line, imported in ours_imported(name, path)
        if not allowed(name, imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rules_see_what_is_wrong() -> None:
    assert not allowed("edgeseq.cli", "export.parity")
    assert not allowed("edgeseq.features.rms", "edgeseq.config")
    assert not allowed("edgeseq.pipeline", "edgeseq.backends")
    assert not allowed("edgeseq.stages.onnx", "edgeseq.wiring")
    assert not allowed("firmware_bridge.link", "edgeseq.types")
    assert not allowed("export.report", "zoo.turbofan")
    assert allowed("edgeseq.sources.serial", "firmware_bridge")
    assert allowed("edgeseq.backends.ort", "edgeseq.backends._threads")


@pytest.mark.parametrize("command", ["import edgeseq", "import edgeseq.cli; edgeseq.cli.main(['--help'])"])
def test_nothing_heavy_is_loaded(command: str) -> None:
    script = f"{command}\nimport sys; print('loaded:', *({{m.split('.')[0] for m in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
