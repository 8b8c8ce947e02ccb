"""The example configurations are valid, and the example broker configuration starts a broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from broker import MISSING, MOSQUITTO, Broker

from edgeseq import cli

CONFIGS = Path(__file__).parent.parent / "configs"


def test_the_turbofan_pipeline_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(CONFIGS / "turbofan.toml")]) == 0
    assert "hysteresis" in capsys.readouterr().out


@pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)
def test_the_broker_configuration_is_valid(tmp_path: Path) -> None:
    lines = (CONFIGS / "mosquitto.conf").read_text("utf-8").splitlines(keepends=True)
    assert "listener 1883 127.0.0.1\n" in lines
    # On another port, so that a broker that runs here is left alone.
    broker = Broker(tmp_path, "".join(line for line in lines if not line.startswith("listener")))
    broker.start()
    broker.stop()
