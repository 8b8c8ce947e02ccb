"""RNN of a cell, or of cells stacked in it: each cell is the recurrent layer of its kind, one behind the other.

At every step the cells run in turn, each on what the one before it gave: as layers that give all their steps would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from export.errors import ExportError

Config = Mapping[str, Any]
KINDS = {"SimpleRNNCell": "SimpleRNN", "GRUCell": "GRU", "LSTMCell": "LSTM"}
PLACES = {"SimpleRNNCell": "simple_rnn_cell", "GRUCell": "gru_cell", "LSTMCell": "lstm_cell"}
STACK = "StackedRNNCells"
OWN = ("return_sequences", "return_state", "go_backwards", "stateful")
"""What an RNN says of itself, not of its cells."""


def cells(config: Config, name: str) -> Iterator[tuple[str, str, Config, str]]:
    """Yield each cell as a layer: its name, kind, configuration, and where its weights lie inside the RNN."""
    cell = config["cell"]
    stacked = cell["class_name"] == STACK
    entries = cell["config"]["cells"] if stacked else [cell]
    seen: Counter[str] = Counter()
    for number, entry in enumerate(entries, start=1):
        kind = str(entry["class_name"])
        if kind not in KINDS or str(entry.get("module")) != "keras.layers":
            raise ExportError(
                f"layer '{name}' (RNN): it holds a '{kind}'; cells of the user's own are not read. "
                f"{', '.join(KINDS)} are."
            )
        place = f"{PLACES[kind]}_{seen[kind]}" if seen[kind] else PLACES[kind]
        seen[kind] += 1
        given = {key: config.get(key) for key in OWN}
        given["return_sequences"] = config["return_sequences"] or number < len(entries)
        inner = {**entry["config"], **given}
        called = name if number == len(entries) else f"{name}/{entry['config']['name']}"
        yield called, KINDS[kind], inner, f"cell/cells/{place}" if stacked else "cell"
