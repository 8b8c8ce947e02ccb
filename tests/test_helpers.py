"""Processes that work for another one end with it."""

import subprocess
import sys

CHILD = (
    "from edgeseq import helpers; helpers.end_with_parent(); print('begun', flush=True); import time; time.sleep(20)"
)
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD + '; print(1)'!r}])"


def test_a_process_whose_parent_is_killed_is_gone_too() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begun\n"
        parent.kill()
        assert parent.stdout.read() == "", "the end of the child's output, before it would have said more"
