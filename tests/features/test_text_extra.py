"""Where the extra 'text' is missing, a sentence says so."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.errors import ConfigError
from edgeseq.features import log_templates
from edgeseq.features.byte_pairs import BytePairs
from edgeseq.features.log_templates import LogTemplates


@pytest.mark.parametrize(
    ("module", "make"),
    [
        ("tokenizers", lambda: BytePairs(tokenizer=Path("t.json"))),
        ("drain3.drain", lambda: LogTemplates(templates=Path("t.json"))),
        ("drain3.drain", lambda: log_templates.mine(["a"], Path("t.json"))),
    ],
)
def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], object]) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"{module.partition('.')[0]}, which is not installed: .*edgeseq\[text\]"):
        make()
