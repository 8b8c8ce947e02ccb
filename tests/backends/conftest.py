from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "export")]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that litert_cases.py writes; EDGESEQ_LITERT_CASES names one where there is no exporter."""
    written = os.environ.get("EDGESEQ_LITERT_CASES")
    if written:
        return Path(written)
    import litert_cases  # noqa: PLC0415 - it needs PyTorch

    return litert_cases.write(tmp_path_factory.mktemp("litert"))
