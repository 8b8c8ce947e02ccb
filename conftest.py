"""Under EDGESEQ_REQUIRE_DEBIAN=1 no test may skip for want of a Debian package: continuous integration installs them.

A test that lacks one skips with a reason that holds the installing command, `apt-get install PACKAGE`.
"""

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

# The networks of tests are small: several threads would only wait for each other. Set before NumPy and PyTorch load.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _verdicts_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Let no test read or leave a verdict in the user's cache; machine code is compiled once for all runs of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESEQ_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("NUMBA_CACHE_DIR", str(Path(__file__).parent / "build" / "kernels"))
        yield


@pytest.fixture(scope="module", autouse=True)
def _libraries_out_of_the_collectors_way() -> Generator[None]:
    """Let full collections, of which every pipeline makes one, pass over what was loaded before: they take a second."""
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        # Every pipeline asks, too, whether something is frozen; Python counts a million objects one by one for it.
        patch.setattr(gc, "get_freeze_count", lambda: 1)
        yield
    gc.unfreeze()


REQUIRED = os.environ.get("EDGESEQ_REQUIRE_DEBIAN") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn such a skip of a test into a failure."""
    return _refuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn such a skip of a whole file into a failure."""
    return _refuse((yield))


def _refuse(report: Any) -> Any:
    if REQUIRED and report.skipped and "apt-get install" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"EDGESEQ_REQUIRE_DEBIAN=1 forbids this skip: {report.longrepr}"
    return report
