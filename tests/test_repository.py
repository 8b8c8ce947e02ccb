"""What may lie in this repository, and that what the README says works."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_BYTES = 2 << 20
TEXT = {".py", ".toml", ".md", ".txt", ".html", ".svg", ".csv", ".cfg", ".ini", ".yml", ".yaml", ".sh", ".c", ".h", ""}
FORBIDDEN = {
    "a registry's address": re.compile(
        r"https?://[^\s\"'<>]*(/simple\b|/whl\b|\.whl\b|\.deb\b|registry\.)|files\.pythonhosted|index-url|find-links"
    ),
    "an absolute path of one machine": re.compile(r"(?<![\w.])/(home|root|Users|work)/\w"),
}
TESTED = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)


def tracked() -> list[Path]:
    """Return the files git knows; where this is no checkout (an unpacked archive), the question does not arise."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_files_are_small() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {path.stat().st_size >> 10} KiB"
        for path in tracked()
        if path.stat().st_size > MAX_BYTES
    ]
    assert not large, large


def test_source_files_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in tracked()
        if path.suffix == ".py"
        if (lines := path.read_text("utf-8").count("\n")) > 400
    ]
    assert not long, long


def test_files_of_tests_have_names_of_their_own() -> None:
    """Folders of tests are no packages: pytest imports each file by its name alone."""
    names = [path.name for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    twice = {name for name in names if names.count(name) > 1} - {"__init__.py", "conftest.py"}
    assert not twice, twice


def test_no_addresses_of_registries_or_machines() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {what}"
        for path in tracked()
        if path.suffix in TEXT and path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_lock_files() -> None:
    locks = {"uv.lock", "poetry.lock", "Pipfile.lock", "package-lock.json", "pdm.lock"}
    assert not [path for path in tracked() if path.name in locks]


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(
            line
            for extra in ("export", "parquet", "demo", "audio", "serial", "fuzz", "text", "tflite", "dev")
            for line in extras[extra]
        ),
    ]
    names = {re.split(r"[\[<>=;!~ ]", line)[0] for line in wanted} - {"edgeseq"}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert not {plain(name) for name in names} - {plain(name) for name in pinned}, "run `make constraints`"


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def blocks() -> list[str]:
    """Return the shell blocks of the README that are marked as tested."""
    return TESTED.findall((ROOT / "README.md").read_text("utf-8"))


@pytest.mark.parametrize("block", blocks())
def test_the_readme_works(block: str, tmp_path: Path) -> None:
    if "edgeseq export" in block:
        pytest.importorskip("torch", reason="needs the extra 'export': pip install 'edgeseq[export]'")
    # What a block reads is the repository's, what it writes lands elsewhere.
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (tmp_path / entry.name).symlink_to(entry)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("required", [True, False])
def test_ci_lets_nothing_skip_for_want_of_a_debian_package(tmp_path: Path, *, required: bool) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    reason = "mosquitto is not installed; apt-get install mosquitto"
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        f"@pytest.fixture\ndef broker():\n    pytest.skip({reason!r})\n"
        "def test_needs_a_broker(broker): pass\n"
        "def test_needs_data(): pytest.skip('no data here')\n"
    )
    (tmp_path / "test_two.py").write_text(f"import pytest\npytest.skip({reason!r}, allow_module_level=True)\n")
    environment = {**os.environ, "EDGESEQ_REQUIRE_DEBIAN": "1" if required else "0"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert ("EDGESEQ_REQUIRE_DEBIAN=1 forbids this skip" in done.stdout) == required, done.stdout
    # pytest ends with 5 where all tests skipped, 1 where one failed, 2 where a file could not be collected.
    assert done.returncode in ((1, 2) if required else (0, 5))
