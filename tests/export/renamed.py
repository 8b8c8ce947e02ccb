"""The same graph under names that say nothing, graphs inside it too, its nodes in another order that is as good."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx

from export.frontends.onnx_loops import read_by


def renamed(
    model: onnx.ModelProto, seed: int = 0, *, kept: Collection[str] = (), unnamed: bool = False
) -> onnx.ModelProto:
    """Return the model otherwise called and ordered. kept: names that stay. unnamed: its nodes have no names at all."""
    rng = np.random.default_rng(seed)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = _ordered(result.graph, rng)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    graphs = list(_graphs(result.graph))
    names = {name for graph in graphs for node in graph.node for name in (*node.input, *node.output)}
    names |= {value.name for graph in graphs for value in (*graph.input, *graph.output, *graph.initializer)}
    names -= {"", *kept}
    new = {name: f"q{place}" for name, place in zip(sorted(names), rng.permutation(len(names)), strict=True)}
    count = 0
    for graph in graphs:
        for node in graph.node:
            node.name, count = "" if unnamed else f"n{count}", count + 1
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = new.get(value.name, value.name)
    return result


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _ordered(graph: onnx.GraphProto, rng: np.random.Generator) -> list[onnx.NodeProto]:
    computed = {name for node in graph.node for name in node.output}
    waiting, order = [(node, read_by(node) & computed) for node in graph.node], []
    while waiting:
        ready = [place for place, (_, missing) in enumerate(waiting) if not missing]
        node, _ = waiting.pop(ready[int(rng.integers(len(ready)))])
        order.append(node)
        for _, missing in waiting:
            missing.difference_update(node.output)
    return order
