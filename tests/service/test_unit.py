"""The unit that a configuration gives: the example in configs/, devices, addresses, secrets, awkward paths."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeseq import config as configs
from edgeseq.cli import main
from edgeseq.errors import ConfigError
from edgeseq.service import devices, paths
from edgeseq.service.settings import Settings
from edgeseq.service.unit import Unit, quoted, unit

ROOT = Path(__file__).parents[2]
EDGESEQ = Path("/opt/edgeseq/bin/edgeseq")
SHOWN = (Path("/opt/edgeseq"),)
CONFIG = """
name = "pump"
[source]
type = "csv"
path = "data.csv"
stream_column = "unit"
[model]
bundle = "{bundle}"
[[sinks]]
type = "mqtt"
{sink}
[service]
{service}
"""


def load(folder: Path, service: str = "", sink: str = "", name: str = "pump.toml") -> configs.Config:
    (folder / "data.csv").write_bytes((ROOT / "zoo/turbofan/sample/engines.csv").read_bytes())
    file = folder / name
    file.write_text(CONFIG.format(bundle=ROOT / "zoo/turbofan/bundle", sink=sink, service=service))
    return configs.load(file)


class Serial:
    """A source that opens a port."""

    def __init__(self, *ports: str) -> None:
        self.devices = ports


def with_ports(config: configs.Config, *ports: str) -> Unit:
    source: Any = Serial(*ports)
    return unit(dataclasses.replace(config, source=source), EDGESEQ, SHOWN)


def lines(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def exposure(folder: Path, text: str) -> float:
    """Return systemd's own verdict on a unit, which it gives without running anything."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; apt-get install systemd")
    file = folder / "edgeseq-judged.service"
    file.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(file)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    return float(found[1])


def test_the_example_is_what_the_command_prints() -> None:
    config = configs.load(ROOT / "configs" / "turbofan.toml")
    installed = dataclasses.replace(config.document, path=Path("/etc/edgeseq/turbofan.toml"))
    made = unit(dataclasses.replace(config, document=installed), EDGESEQ, SHOWN)
    assert (ROOT / "configs" / made.name).read_text("utf-8") == made.text


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "unit", str(ROOT / "configs" / "turbofan.toml")]) == 0
    assert "\nWatchdogSec=30\n" in capsys.readouterr().out


PORT = "/dev/serial/by-id/usb-Pico-if00"


@pytest.mark.parametrize("ports", [(), (PORT,)], ids=["no device", "a serial port"])
@pytest.mark.parametrize(
    ("service", "most"),
    [
        ('addresses = ["192.168.7.2"]', 1.1),
        ('addresses = ["localhost"]', 1.1),
        ("", 1.5),
        ("realtime_priority = 9", 1.5),
    ],
)
def test_what_it_is_exposed_to(tmp_path: Path, ports: Sequence[str], service: str, most: float) -> None:
    text = with_ports(load(tmp_path, service), *ports).text
    assert exposure(tmp_path, text) <= most
    unprotected = "\n".join(line for line in text.splitlines() if not line.startswith("Protect"))
    assert exposure(tmp_path, unprotected) > most


def test_a_serial_port_by_its_class_once_the_class_is_there(tmp_path: Path) -> None:
    made = with_ports(load(tmp_path), PORT)
    assert lines(made.text, "DeviceAllow") == ["char-ttyACM rw", "char-ttyUSB rw"]
    assert lines(made.text, "Wants") == ["modprobe@cdc_acm.service modprobe@usbserial.service"]
    assert "modprobe@cdc_acm.service" in lines(made.text, "After")[0]
    assert lines(made.text, "PrivateDevices") == []
    assert made.groups == ("dialout",)
    without = unit(load(tmp_path), EDGESEQ, SHOWN)
    assert lines(without.text, "PrivateDevices") == ["yes"]
    assert without.groups == ()


def test_a_link_is_followed_and_the_unknown_is_named(tmp_path: Path) -> None:
    link = tmp_path / "sensor"
    link.symlink_to("/dev/ttyUSB3")
    assert devices.access(str(link)).classes == ("char-ttyUSB",)
    assert devices.access("/dev/iio:device0").classes == ("/dev/iio:device0",)


def test_nothing_that_others_named_begins_a_line_of_its_own(tmp_path: Path) -> None:
    config = load(tmp_path)
    about = dataclasses.replace(config.about, model="wear\nExecStartPre=+/bin/false\\")
    text = unit(dataclasses.replace(config, about=about), EDGESEQ, SHOWN).text
    assert lines(text, "ExecStartPre") == []
    assert lines(text, "Description") == ["edgeseq: pump, wear ExecStartPre=+/bin/false"]
    assert lines(with_ports(config, "/dev/my sensor:50%").text, "DeviceAllow") == ['"/dev/my sensor:50%%" rw']
    for port in ("/dev/x\nUser=root", "/dev/x\\"):
        with pytest.raises(ConfigError, match="cannot stand in a systemd unit"):
            with_ports(config, port)
    with pytest.raises(ConfigError, match=r"^'/srv/a\$b' cannot stand in a systemd unit: rename it"):
        unit(config, EDGESEQ, [Path("/srv/a$b")])
    with pytest.raises(ConfigError, match="is no IP address"):
        load(tmp_path, 'addresses = ["fe80::1%eth0\\nUser=root"]')


def test_addresses(tmp_path: Path) -> None:
    some = unit(load(tmp_path, 'addresses = ["10.0.0.0/8", "localhost"]'), EDGESEQ, SHOWN).text
    assert lines(some, "IPAddressAllow") == ["10.0.0.0/8 localhost"]
    assert lines(some, "IPAddressDeny") == ["any"]
    none = unit(load(tmp_path, "addresses = []"), EDGESEQ, SHOWN).text
    assert lines(none, "PrivateNetwork") == ["yes"]
    assert lines(unit(load(tmp_path), EDGESEQ, SHOWN).text, "IPAddressDeny") == []


def test_in_real_time(tmp_path: Path) -> None:
    text = unit(load(tmp_path, "realtime_priority = 20"), EDGESEQ, SHOWN).text
    assert lines(text, "CPUSchedulingPriority") == ["20"]
    assert lines(text, "RestrictRealtime") == []


def test_it_writes_into_its_own_folder_alone(tmp_path: Path) -> None:
    state = Path("/var/lib/edgeseq/pump")
    paths.check_written(load(tmp_path), state)
    for text, says in (
        ('[outbox]\npath = "/srv/outbox"', "outbox.path: a service writes into"),
        ('[[sinks]]\ntype = "sqlite"\npath = "alerts.db"', "write it as /var/lib/edgeseq/pump/alerts.db"),
    ):
        load(tmp_path)
        file = tmp_path / "pump.toml"
        file.write_text(file.read_text().replace("[service]", text))
        with pytest.raises(ConfigError, match=says):
            paths.check_written(configs.load(file), state)
        inside = file.read_text().replace("/srv/outbox", f"{state}/outbox").replace("alerts.db", f"{state}/alerts.db")
        file.write_text(inside)
        paths.check_written(configs.load(file), state)
        assert [path for path in paths.shown(paths.needed(configs.load(file), EDGESEQ)) if "var" in path.parts] == []


def test_it_stops_within_what_its_sinks_take(tmp_path: Path) -> None:
    slow = unit(load(tmp_path, "watchdog_s = 5", sink="drain_s = 60"), EDGESEQ, SHOWN).text
    assert lines(slow, "WatchdogSec") == ["121"]
    assert lines(unit(load(tmp_path, sink="drain_s = 7.5"), EDGESEQ, SHOWN).text, "TimeoutStopSec") == ["30"]


def test_a_secret_is_given_by_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(tmp_path, sink='username = "pump"\npassword_file = "secret 100%"')
    text = unit(config, EDGESEQ, SHOWN).text
    assert lines(text, "LoadCredential") == [f"sinks.0.password_file:{tmp_path.resolve()}/secret 100%%"]
    given = tmp_path / "credentials"
    given.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    (given / "sinks.0.password_file").write_text("s3cret\n")
    (sink,) = load(tmp_path, sink='username = "pump"\npassword_file = "secret 100%"').sinks
    assert "publishes to" in sink.check()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "word"),
    [("/a/b", "/a/b"), ("/a b", '"/a b"'), ('/a"b', '"/a\\"b"'), ("/50%", "/50%%"), ("/a\\b", '"/a\\\\b"')],
)
def test_awkward_paths(path: str, word: str) -> None:
    assert quoted(path) == word


@pytest.mark.parametrize("path", ["/a\nb", "/a$b", "/a:b", "/a\x00b"])
def test_impossible_paths(path: str) -> None:
    with pytest.raises(ConfigError, match="rename it"):
        quoted(path)


def test_systemd_understands_it(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; apt-get install systemd")
    made = unit(
        load(tmp_path, 'addresses = ["localhost"]\nrealtime_priority = 5', name="100% pump.toml"),
        Path("/bin/true"),
        SHOWN,
    )
    file = tmp_path / made.name
    file.write_text(made.text)
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if made.name in line], done.stderr


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ('addresses = ["broker.local"]', "is no IP address"),
        ("realtime_priority = 100", "must lie between 0 (none) and 99"),
        ("watchdog_s = 1", "must lie between 2 and"),
        ("watchdogs = 5", "Did you mean 'watchdog_s'?"),
    ],
)
def test_mistakes_are_said_with_their_line(tmp_path: Path, service: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as found:
        load(tmp_path, service)
    assert "pump.toml, line 13: service." in str(found.value)


def test_the_operator_finds_every_key() -> None:
    page = (ROOT / "docs" / "service.md").read_text("utf-8")
    for key in Settings.__struct_fields__:
        assert f"| `{key}` |" in page


def test_a_name_that_no_unit_bears(tmp_path: Path) -> None:
    config = load(tmp_path)
    odd = dataclasses.replace(config, about=dataclasses.replace(config.about, pipeline="Pumpe Süd/1"))
    with pytest.raises(ConfigError, match="a service's name has letters"):
        unit(odd, EDGESEQ, SHOWN)


def test_what_a_service_would_not_see(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lies in (/tmp|/root|/home|/var/tmp) .*which a service does not see"):
        paths.check(paths.needed(load(tmp_path), EDGESEQ))


def test_files_are_named_by_what_takes_paths(tmp_path: Path) -> None:
    config = load(tmp_path, sink='username = "pump"\npassword_file = "secret"\nca_file = "ca.pem"')
    assert dict(paths.named(config)) == {
        "bundle": str(ROOT / "zoo/turbofan/bundle"),
        "path": "data.csv",
        "ca_file": "ca.pem",
    }


def test_what_it_sees(tmp_path: Path) -> None:
    files = {"a": Path("/opt/e/bin/e"), "b": Path("/opt/e"), "c": Path("/usr/lib/x"), "d": Path("/etc/e.toml")}
    assert paths.shown(files) == [Path("/opt/e")]
    needed = paths.needed(load(tmp_path), EDGESEQ)
    assert needed["what 'path' names"] == tmp_path / "data.csv"
    assert tmp_path / "pump.toml" in paths.shown(needed)
    text = unit(load(tmp_path), EDGESEQ, [Path("/srv/two words"), Path("/srv/b")]).text
    assert lines(text, "BindReadOnlyPaths")[1:] == ['"-/srv/two words"', "-/srv/b"]


def test_without_root_or_systemd_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path)
    if Path("/run/systemd/system").is_dir():
        pytest.skip("this machine could really be changed")
    assert main(["service", "install", str(tmp_path / "pump.toml")]) == 2
    assert re.search("this needs root|systemd does not run this system", capsys.readouterr().err)
