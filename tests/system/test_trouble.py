"""Killed, hung, misconfigured, rebooted: what becomes of the service, with its protection and without."""

from __future__ import annotations

import base64
import re
import time

from installed import CONFIG, EDGESEQ, STUCK, ZOO, Service
from machine import Machine

from edgeseq.service.checkpoint import decoded

MARK = "/run/mark"
WATCHDOG_S = 5
STATUS_S = 10
"""So often the status line is written where there is no watchdog."""


def test_killed_it_is_started_anew(pump: Service) -> None:
    before = pump.pid
    pump.debian.run("kill", "-KILL", before)
    pump.debian.until(lambda: pump.restarts == 1, "it is started anew")
    pump.ready()
    assert pump.pid not in ("0", before)


def frames(pump: Service) -> int:
    """Return how many frames the service's status tells, once there is one."""
    found = None
    while found is None:
        found = re.search(r"([\d,]+) frames", pump.show("StatusText"))
    return int(found[1].replace(",", ""))


def kept(pump: Service) -> int:
    """Return how many frames of all streams the next checkpoint knows."""
    pump.debian.run("touch", MARK)
    newer = ("find", pump.checkpoint, "-newer", MARK)
    pump.debian.until(lambda: pump.checkpoint in pump.debian.status(*newer)[1].split(), "a checkpoint is written")
    content = base64.b64decode(pump.debian.run("base64", pump.checkpoint))
    counts = [lane.counts["seen"] for lane in decoded(content)[0].lanes.values()]
    return sum(count for count in counts if isinstance(count, int))


def killed_late(pump: Service, command: str = "true") -> tuple[int, int]:
    """Return the frames that are kept before the service is killed, and by the next one once it is ready."""
    pump.debian.until(lambda: frames(pump) > 100, "some frames are taken")
    before = kept(pump)
    pump.debian.run("sh", "-c", f"kill -KILL {pump.pid} && {command}")
    pump.debian.until(lambda: pump.restarts == 1, "it is started anew")
    pump.ready()
    return before, kept(pump)


def test_killed_a_recording_goes_on_where_it_was(pump: Service) -> None:
    before, after = killed_late(pump)
    assert after >= before


def test_without_the_checkpoint_it_begins_anew(pump: Service) -> None:
    before, after = killed_late(pump, f"rm {pump.checkpoint}*")
    assert after < before


def test_killed_without_restart_it_stays_down(pump: Service) -> None:
    pump.override("[Service]\nRestart=no\n")
    pump.debian.run("kill", "-KILL", pump.pid)
    pump.failed()
    assert pump.restarts == 0


def test_a_loop_that_hangs_is_found_by_the_watchdog(pump: Service) -> None:
    before = pump.pid
    pump.debian.run("touch", STUCK)
    pump.debian.until(lambda: pump.restarts >= 1, "the watchdog has found it")
    pump.debian.run("rm", STUCK)
    assert f"Watchdog timeout (limit {WATCHDOG_S}s)" in pump.journal()
    pump.ready()
    assert pump.pid not in ("0", before)


def test_without_the_watchdog_it_hangs_for_ever(pump: Service) -> None:
    pump.override("[Service]\nWatchdogSec=0\n")
    before = pump.pid
    pump.debian.run("touch", STUCK)
    time.sleep(1)
    said = pump.show("StatusText")
    time.sleep(STATUS_S + 2)
    assert pump.show("StatusText") == said
    assert pump.restarts == 0
    assert pump.pid == before


def test_a_wrong_configuration_is_not_tried_again(pump: Service) -> None:
    pump.configure(text=CONFIG.replace("pace = 2.0", "pase = 2.0"))
    pump.debian.status("systemctl", "restart", pump.unit)
    pump.failed()
    assert pump.show("ExecMainStatus") == "2"
    assert pump.restarts == 0
    assert "Did you mean 'pace'?" in pump.journal("--lines=20")


def test_without_that_rule_it_would_be_tried_again_and_again(pump: Service) -> None:
    pump.override("[Service]\nRestartPreventExitStatus=\nRestartSec=100ms\n")
    pump.configure(text=CONFIG.replace("pace = 2.0", "pase = 2.0"))
    pump.debian.status("systemctl", "restart", pump.unit)
    pump.debian.until(lambda: pump.restarts >= 2, "it is tried again")


def failing(pump: Service, override: str) -> None:
    """Make every start fail at once, and not by a mistake in the configuration: a sum of the bundle does not agree."""
    pump.debian.run("sh", "-c", f"rm -rf /srv/bundle && cp -r {ZOO}/turbofan/bundle /srv")
    pump.configure(text=CONFIG.replace("{zoo}/turbofan/bundle", "/srv/bundle"))
    pump.install()
    pump.override(override)
    pump.debian.run("sh", "-c", "echo >> /srv/bundle/report.md")
    pump.debian.status("systemctl", "restart", pump.unit)


def test_one_that_always_fails_is_given_up(pump: Service) -> None:
    failing(pump, "[Service]\nRestartSec=50ms\n")
    pump.failed()
    assert 0 < pump.restarts < 10


def test_without_that_limit_it_fails_for_ever(pump: Service) -> None:
    failing(pump, "[Unit]\nStartLimitBurst=0\n[Service]\nRestartSec=50ms\n")
    pump.debian.until(lambda: pump.restarts > 10, "it is started anew beyond the limit")


def test_stopped_it_ends_in_good_order(pump: Service) -> None:
    pump.debian.run("systemctl", "stop", pump.unit)
    assert pump.show("Result") == "success"
    assert pump.show("ExecMainStatus") == "0"
    assert "stopped after" in pump.journal("--lines=20")


def test_after_a_reboot_it_is_there_again(pump: Service) -> None:
    pump.debian.shut_down()
    pump.debian.boot()
    pump.ready()
    assert pump.restarts == 0


def test_after_a_power_cut_it_is_there_again(pump: Service) -> None:
    pump.debian.cut_the_power()
    pump.debian.boot()
    pump.ready()
    assert pump.restarts == 0


BROKER = """\
per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true
listener 1884 127.0.0.1
password_file /etc/mosquitto/users
"""


def test_a_secret_that_root_alone_can_read_reaches_the_broker(debian: Machine) -> None:
    debian.run("mosquitto_passwd", "-b", "-c", "/etc/mosquitto/users", "pump", "s3cret")
    debian.run("chown", "mosquitto:", "/etc/mosquitto/users")
    debian.write("/etc/mosquitto/conf.d/listeners.conf", BROKER)
    debian.run("systemctl", "restart", "mosquitto")
    debian.write("/etc/edgeseq/broker.password", "s3cret\n", 0o600)
    service = Service(debian, "secret")
    keys = 'host = "127.0.0.1"\nport = 1884\nusername = "pump"\npassword_file = "broker.password"'
    service.configure(text=CONFIG.replace('host = "127.0.0.1"', keys))
    service.install()
    assert service.show("ActiveState") == "active"
    assert "s3cret" not in debian.run("journalctl", "--no-pager") + debian.run("systemctl", "show", service.unit)
    # Without the credential the file is not to be read.
    debian.run("sed", "-i", "/^LoadCredential=/d", f"/etc/systemd/system/{service.unit}")
    debian.run("systemctl", "daemon-reload")
    assert debian.status("systemctl", "restart", service.unit)[0] != 0
    assert "broker.password" in service.journal("--lines=5")
    debian.run(EDGESEQ, "service", "uninstall", service.config)
