"""Where and how urgently the system runs a process: the cores it stays on, and SCHED_FIFO."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgeseq.errors import ConfigError, ModelError
from edgeseq.machine import first_line

RT_RUNTIME = Path("/proc/sys/kernel/sched_rt_runtime_us")


def check(cpus: Sequence[int], fifo_priority: int | None) -> None:
    """See that both can be asked for here. Raises ConfigError."""
    if (cpus or fifo_priority is not None) and not hasattr(os, "sched_setaffinity"):
        raise ConfigError("--cpu and --fifo are Linux's; this system schedules otherwise.")
    usable = os.sched_getaffinity(0) if cpus else set()
    for cpu in cpus:
        if cpu not in usable:
            raise ConfigError(f"--cpu {cpu}: the cores that this process may use are {_listed(usable)}.")
    if fifo_priority is not None:
        least, most = os.sched_get_priority_min(os.SCHED_FIFO), os.sched_get_priority_max(os.SCHED_FIFO)
        if not least <= fifo_priority <= most:
            raise ConfigError(f"--fifo {fifo_priority}: a priority of SCHED_FIFO lies between {least} and {most}.")


def apply(cpus: Sequence[int], fifo_priority: int | None) -> None:
    """Have this thread, and those it will start, scheduled so. Raises ModelError that says what is not permitted."""
    if cpus:
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as cause:
            raise ModelError(f"--cpu {_listed(cpus)}: the system refuses it: {cause.strerror}.") from cause
    if fifo_priority is not None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(fifo_priority))
        except PermissionError as cause:
            raise ModelError(f"--fifo {fifo_priority}: {_refusal()}") from cause
        except OSError as cause:
            raise ModelError(f"--fifo {fifo_priority}: the system refuses it: {cause.strerror}.") from cause


def share_for_others() -> float | None:
    """Return the share of a core that the kernel takes from processes of SCHED_FIFO; None where it takes none."""
    runtime, period = (first_line(RT_RUNTIME.with_name(f"sched_rt_{what}_us")) for what in ("runtime", "period"))
    try:
        share = 1 - int(runtime) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if 0 < share <= 1 else None


def _refusal() -> str:
    import resource  # noqa: PLC0415 - not on every system

    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[1]
    return (
        f"real-time priorities of this user end at {limit} (RLIMIT_RTPRIO), and it lacks CAP_SYS_NICE. Run it as root, "
        "with `sudo setcap cap_sys_nice+ep` on Python's own file, or raise the limit: `rtprio` in "
        "/etc/security/limits.conf, LimitRTPRIO= in a systemd unit."
    )


def _listed(cpus: Sequence[int] | set[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))
