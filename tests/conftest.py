"""Fixtures that several tests share."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import pytest
import wired_device
from broker import MISSING, MOSQUITTO, Broker


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give folders that do not exist yet, one a test; tmp_path, which makes one, looks through all there are first."""
    folder = tmp_path_factory.mktemp("states")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def state_of_its_own(states: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find or leave a pipeline's events in the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(next(states)))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    """Give a real broker on a free loopback port, or skip saying how to install it."""
    if MOSQUITTO is None or which("mosquitto_sub") is None:
        pytest.skip(MISSING)
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Broker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.end()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Callable[..., wired_device.WiredDevice]]:
    """Give what plugs in a device of these options, the real C code, or skip saying how to install a compiler."""
    if wired_device.MISSING:
        pytest.skip(wired_device.MISSING)
    there: list[wired_device.WiredDevice] = []

    def plug(*options: str) -> wired_device.WiredDevice:
        folder = tmp_path / f"device{len(there)}"
        folder.mkdir()
        there.append(wired_device.WiredDevice(folder, *options))
        return there[-1]

    try:
        yield plug
    finally:
        for each in there:
            each.gone()
