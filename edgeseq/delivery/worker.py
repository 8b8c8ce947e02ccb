"""A thread that does not die without a word."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)


class Worker(threading.Thread):
    """Does its `work`. What that raises is a bug: it is logged as everything is, and whoever needs the thread sees."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)

    def run(self) -> None:
        """Work until it is done."""
        try:
            self.work()
        except Exception:
            log.exception("the thread '%s' ends by a bug", self.name)

    def work(self) -> None:
        """Do what this thread is for."""
        raise NotImplementedError
