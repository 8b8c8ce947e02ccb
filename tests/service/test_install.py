"""What an installation would do, as far as that can be seen without doing it to this machine; tests/system does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseq.errors import ConfigError, ServiceError
from edgeseq.service import install
from edgeseq.service.steps import Step, carried_out
from edgeseq.service.unit import MARK, Unit

EDGESEQ = Path("/opt/edgeseq/bin/edgeseq")


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(install, "UNITS", tmp_path)
    return tmp_path


def pump(text: str = "new") -> Unit:
    path = Path("/nowhere/pump")
    return Unit("edgeseq-pump.service", Path("/etc/edgeseq/pump.toml"), text, path, path, path, (), ())


def test_what_is_done_is_left_and_what_fails_is_the_end() -> None:
    did: list[str] = []

    def fail() -> None:
        raise ServiceError("no")

    steps = [
        Step("first", lambda: did.append("first"), lambda: True),
        Step("second", lambda: did.append("second"), lambda: False),
        Step("third", lambda: did.append("third")),
        Step("fourth", fail),
        Step("fifth", lambda: did.append("fifth")),
    ]
    assert [outcome for _, outcome in carried_out(steps, dry=True)] == ["already", *["would"] * 4]
    assert did == []
    said = []
    with pytest.raises(ServiceError, match="no"):
        said.extend(carried_out(steps, dry=False))
    assert did == ["second", "third"]


def test_another_configuration_of_that_name_keeps_it(units: Path) -> None:
    (units / "edgeseq-pump.service").write_text(f"{MARK}/srv/other.toml\n")
    with pytest.raises(ConfigError, match=r"runs /srv/other.toml already. Give this pipeline another name"):
        install.installing(pump(), EDGESEQ)


def test_a_unit_of_somebody_else_is_not_touched(units: Path) -> None:
    (units / "edgeseq-pump.service").write_text("[Service]\n")
    with pytest.raises(ConfigError, match="was not written by edgeseq"):
        install.installing(pump(), EDGESEQ)
    with pytest.raises(ConfigError, match="was not written by edgeseq"):
        install.uninstalling(Path("/etc/edgeseq/pump.toml"), purge=False)


def test_a_unit_that_is_the_same_is_not_written_again(units: Path) -> None:
    text = f"{MARK}/etc/edgeseq/pump.toml\n[Service]\n"
    (units / "edgeseq-pump.service").write_text(text)
    outcomes = dict(carried_out(install.installing(pump(text), EDGESEQ), dry=True))
    assert outcomes[f"write {units}/edgeseq-pump.service"] == "already"
    outcomes = dict(carried_out(install.installing(pump(f"{text}#"), EDGESEQ), dry=True))
    assert outcomes[f"write {units}/edgeseq-pump.service"] == "would"


def test_what_goes_with_a_service(units: Path) -> None:
    for name in ("pump", "fan"):
        (units / f"edgeseq-{name}.service").write_text(f"{MARK}/etc/edgeseq/{name}.toml\n")
    with pytest.raises(ConfigError, match=r"no service runs /etc/edgeseq/saw\.toml\. Installed are: /etc/edgeseq/"):
        install.uninstalling(Path("/etc/edgeseq/saw.toml"), purge=False)
    config = Path("/etc/edgeseq/pump.toml")
    assert len(install.uninstalling(config, purge=False)) == 2
    with_another = [step.says for step in install.uninstalling(config, purge=True)]
    assert "remove /var/lib/edgeseq/pump" in with_another
    assert "remove the user edgeseq" not in with_another
    (units / "edgeseq-fan.service").unlink()
    assert "remove the user edgeseq" in [step.says for step in install.uninstalling(config, purge=True)]


def test_a_program_that_is_not_there_or_refuses() -> None:
    with pytest.raises(ServiceError, match="there is no program 'no-such-program' here"):
        install._run("no-such-program", "--now")
    with pytest.raises(ServiceError, match=r"`cat /no/such/file` failed: .*No such file"):
        install._run("cat", "/no/such/file")


def test_last_words_are_the_message_of_a_line() -> None:
    assert install._message('{"level": "error", "message": "the disk is full"}') == "the disk is full"
    assert install._message("Failed with result 'exit-code'.") == "Failed with result 'exit-code'."
    assert install._message("[1]") == "[1]"
