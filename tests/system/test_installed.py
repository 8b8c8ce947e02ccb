"""The service as the command installs it: ready, confined, and the same however often that is done."""

from __future__ import annotations

import re
from pathlib import Path

from installed import CONFIG, EDGESEQ, Service
from machine import Machine

FOLDERS = "find /etc /var/lib /var/cache /opt -xdev -path '*/__pycache__*' -prune -o -print | sort"


def test_a_dry_run_does_nothing(debian: Machine) -> None:
    dry = Service(debian, "dry")
    dry.configure()
    before = debian.run("sh", "-c", FOLDERS)
    said = debian.run(EDGESEQ, "service", "install", dry.config, "--dry-run")
    assert "would    write /etc/systemd/system/edgeseq-dry.service" in said
    assert debian.run("sh", "-c", FOLDERS) == before


def test_it_is_ready_and_says_how_it_goes(pump: Service) -> None:
    assert pump.show("Type") == "notify"
    assert pump.show("ActiveState") == "active"
    assert "alerts raised" in pump.show("StatusText")
    assert pump.show("UnitFileState") == "enabled"


def test_again_changes_nothing_and_compiles_nothing(pump: Service) -> None:
    before, kernels = pump.pid, "find /var/cache/edgeseq/kernels -name '*.nbc' -newer /run/again"
    pump.debian.run("touch", "/run/again")
    lines = pump.install().splitlines()
    assert all(line.startswith("already") for line in lines if "make the" in line or "write" in line), lines
    assert pump.pid not in ("0", before)
    assert pump.debian.run("sh", "-c", kernels) == ""
    assert pump.debian.run("sh", "-c", "find /var/cache/edgeseq/kernels -name '*.nbc'") != ""


def test_it_is_another_user_without_any_right(pump: Service) -> None:
    status = pump.debian.run("cat", f"/proc/{pump.pid}/status")
    user = pump.debian.run("id", "-u", "edgeseq").strip()
    assert re.search(rf"^Uid:\s+{user}\s+{user}\s", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    for folder in ("/var/lib/edgeseq/pump", "/var/cache/edgeseq"):
        assert pump.debian.run("stat", "--format=%U %a", folder).strip() == "edgeseq 700"


def test_it_sees_what_it_needs_and_nothing_else(pump: Service) -> None:
    root = f"/proc/{pump.pid}/root"
    assert pump.debian.run("ls", f"{root}/opt", f"{root}/var/lib/edgeseq").split()[1:] == [
        "edgeseq",
        f"{root}/var/lib/edgeseq:",
        "pump",
    ]
    for folder in ("home", "srv", "boot", "var/log", "run/dbus"):
        assert pump.debian.status("test", "-e", f"/{folder}")[0] == 0
        assert pump.debian.status("test", "-e", f"{root}/{folder}")[0] == 1
    mounts = pump.debian.run("cat", f"/proc/{pump.pid}/mounts")
    (state,) = [line for line in mounts.splitlines() if " /var/lib/edgeseq/pump " in line]
    assert " rw," in state
    (system,) = [line for line in mounts.splitlines() if " /usr " in line]
    assert " ro," in system


def test_it_is_exposed_to_little(pump: Service) -> None:
    assert pump.exposure() <= 1.1
    pump.override("[Service]\nProtectSystem=no\nPrivateUsers=no\nRestrictNamespaces=no\n")
    assert pump.exposure() > 1.1


def test_in_real_time(pump: Service) -> None:
    pump.configure("realtime_priority = 10")
    pump.install()
    assert pump.exposure() <= 1.5
    policy = pump.debian.run("cat", f"/proc/{pump.pid}/stat").rpartition(")")[2].split()[38]
    assert policy == "1"


def test_a_wrong_configuration_is_said_before_anything_is_done(debian: Machine) -> None:
    wrong = Service(debian, "wrong")
    wrong.configure(text=CONFIG.replace("pace = 2.0", "pase = 2.0"))
    status, said = debian.status(EDGESEQ, "service", "install", wrong.config)
    assert status == 2
    assert "Did you mean 'pace'?" in said
    assert debian.status("systemctl", "cat", wrong.unit)[0] == 1


def test_one_that_never_gets_ready_tells_its_last_words(debian: Machine) -> None:
    bad = Service(debian, "bad")
    bad.configure(text=CONFIG.replace('type = "mqtt"', 'type = "mqtt"\nca_file = "/etc/edgeseq/nothing.pem"'))
    status, said = debian.status(EDGESEQ, "service", "install", bad.config)
    assert status == 1
    assert "edgeseq-bad.service does not start. Its last words:" in said
    assert "the certificate file /etc/edgeseq/nothing.pem cannot be used" in said
    debian.run(EDGESEQ, "service", "uninstall", bad.config, "--purge")


def test_what_a_service_could_not_see_is_refused(debian: Machine) -> None:
    hidden = Service(debian, "hidden")
    hidden.config = str(Path("/home") / "hidden.toml")
    hidden.configure()
    status, said = debian.status(EDGESEQ, "service", "install", hidden.config)
    assert status == 2
    assert "the configuration lies in /home" in said


def test_it_goes_as_it_came(debian: Machine) -> None:
    before = debian.run("sh", "-c", FOLDERS)
    brief = Service(debian, "brief")
    brief.configure()
    brief.install()
    assert brief.show("ActiveState") == "active"
    debian.run("rm", brief.config)
    said = debian.run(EDGESEQ, "service", "uninstall", brief.config, "--purge")
    assert "remove /etc/systemd/system/edgeseq-brief.service" in said
    assert brief.show("LoadState") == "not-found"
    left = set(debian.run("sh", "-c", FOLDERS).splitlines()) - set(before.splitlines())
    assert not [path for path in left if "brief" in path], left
