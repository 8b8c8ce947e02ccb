"""Any sequence of calls, against the plainest model of an outbox."""

import tempfile

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory import MEMORY

from edgeseq.outbox import Outbox


class AnyOrder(RuleBasedStateMachine):
    """Any sequence of puts, acknowledgements, ends and restarts, against a list of what must be pending."""

    @initialize(max_bytes=st.sampled_from([8192, 1 << 20]))
    def begin(self, max_bytes: int) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.max_bytes = max_bytes
        self.rng = np.random.default_rng(0)
        self.owed: dict[int, set[str]] = {}
        self.what: dict[int, bytes] = {}
        self.states: dict[str, bytes] = {}
        self.outbox = self.opened()

    def opened(self) -> Outbox:
        return Outbox(self.folder.name, ("a", "b"), max_bytes=self.max_bytes)

    @rule(key=st.sampled_from("xyz"), size=st.integers(0, 300), state=st.none() | st.binary(max_size=20))
    @precondition(lambda self: sum(map(len, self.what.values())) < 2000 and len(self.owed) < 12)
    def put(self, key: str, size: int, state: bytes | None) -> None:
        payload = self.rng.bytes(size)
        number = self.outbox.put(payload, key=key, state=state)
        self.owed[number], self.what[number] = {"a", "b"}, payload
        if state is not None:
            self.states[key] = state

    @rule(sink=st.sampled_from("ab"), count=st.integers(1, 5), last=st.booleans())
    def ack(self, sink: str, count: int, last: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        ids = [number for number, sinks in self.owed.items() if sink in sinks]
        ids = ids[-count:] if last else ids[:count]
        self.outbox.ack(ids, sink)
        for number in ids:
            self.owed[number].discard(sink)
            if not self.owed[number]:
                del self.owed[number], self.what[number]

    @rule(key=st.sampled_from("xyz"))
    def end(self, key: str) -> None:
        self.outbox.end({key: b"ended"})
        self.states[key] = b"ended"

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = self.opened()

    @invariant()
    def nothing_is_lost_or_twice(self) -> None:
        if hasattr(self, "outbox"):
            for sink in "ab":
                wanted = [(number, self.what[number]) for number, sinks in self.owed.items() if sink in sinks]
                assert [(number, what) for number, _, what in self.outbox.pending(10**6, sink)] == wanted
            assert self.outbox.states() == self.states
            assert self.outbox.stats()["bytes"] <= self.max_bytes

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            self.folder.cleanup()


AnyOrder.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
