"""Where the outbox's tests write: in memory, for they sync thousands of times and no disk's speed is asked for."""

from pathlib import Path

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - tests make folders of their own there
