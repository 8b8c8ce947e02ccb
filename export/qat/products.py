"""Watches a module compute, and rounds what its products read, write and weigh, where integers will stand.

The module itself stays as it is: PyTorch hands each of its calls to `Quantizing` first (torch.overrides).

1. A product is a call whose weight is one of the module's parameters (or their whole transpose), or is computed anew
   from some by a Linear or Conv layer itself (weight_norm). Calls with other weights, as of a second module, pass.
2. What folds into a product or is its lower limit comes before its output is rounded: a bias added directly behind, a
   batch norm in eval mode, a relu.
3. Recurrent layers are written out (recurrent.py). Of attention the four projections are products.
4. Ranges are chosen on the module with rounded weights over the given frames, in eval mode, as the export will; chosen
   anew every REFRESH forward passes with gradients, since they move as the weights do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from export.errors import ExportError
from export.frontends.torch_export import tensors
from export.graph import first_line
from export.qat import recurrent
from export.qat.points import TABLE_LEAST, Point, rounded_weight
from export.qat.start import Product, windows

REFRESH = 25
"""Forward passes after which ranges are chosen anew."""
SHAKE = 0.02
"""By which share a scale differs from one pass to the next."""
Batch = tuple[Tensor, ...]
COMPUTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode; each of its parts is as it was afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class Quantizing(TorchFunctionMode):
    """Rounds a module's products while it is entered. bits: of what products read and write, 8 or 16."""

    def __init__(self, module: nn.Module, frames: Sequence[Batch], bits: int) -> None:
        super().__init__()
        self.module, self.frames, self.bits = module, frames, bits
        self.points: dict[str, Point] = {}
        self.met: dict[str, int] = {}
        """The weights that entered a product, by name, and the axis of their scales."""
        self._names = {id(parameter): name for name, parameter in module.named_parameters()}
        self._inside: list[str] = []
        self._seeing = False
        self._starting: dict[str, Product] | None = None
        self._passes = 0
        self._random = np.random.default_rng(0)
        self._last: tuple[str, Tensor, Tensor, int] | None = None
        self._leaving: list[tuple[int, Point]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take one call of PyTorch."""
        rule = RULES.get(func)
        return func(*args, **(kwargs or {})) if rule is None else rule(self, func, *args, **(kwargs or {}))

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Attach to the module's forward passes, for ranges and for weights that layers compute; detach at the end."""
        handles = [
            self.module.register_forward_pre_hook(self._before),
            self.module.register_forward_hook(self._after, always_call=True),
        ]
        for name, part in self.module.named_modules():
            if isinstance(part, COMPUTED) and "weight" not in dict(part.named_parameters(recurse=False)):  # 1
                handles += [
                    part.register_forward_pre_hook(lambda *_, name=name: self._inside.append(name)),
                    part.register_forward_hook(lambda *_: self._inside.pop() and None, always_call=True),
                ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def calibrate(self) -> None:
        """Choose all ranges on the frames (4). Raises ExportError where the module does not run on them."""
        self._seeing = True
        try:
            with torch.no_grad(), evaluating(self.module):
                for batch in self.frames:
                    _run(self.module, batch)
            for point in self.points.values():
                point.settle()
        finally:
            self._seeing = False
            self._leaving.clear()

    def start(self) -> None:
        """Choose all ranges, and round the weights as an export would (start.py)."""
        found: dict[str, Product] = {}
        self._starting = found
        try:
            self.calibrate()
        finally:
            self._starting = None
        for name, product in found.items():
            if id(product.weight) in self._names:
                product.start(self.met[name])
        self.calibrate()

    def snap(self) -> None:
        """Move the weights onto the grid on which they were trained, so that the export finds it again."""
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if name in self.met:
                    parameter.copy_(rounded_weight(parameter, self.met[name]))

    def left_float(self) -> list[str]:
        """Return the matrices and kernels that entered no product."""
        met = tuple(f"{name}." for name in self.met)
        return [
            name
            for name, parameter in self.module.named_parameters()
            if sum(size > 1 for size in parameter.shape) > 1 and name not in self.met and not name.startswith(met)
        ]

    def name_of(self, weight: object) -> str | None:
        """Return a weight's name, or None where it is not of this module (1)."""
        if not isinstance(weight, Tensor):
            return None
        base = weight._base  # noqa: SLF001 - of what it is a view, PyTorch tells nowhere else
        whole = base is not None and base.T.shape == weight.shape and base.ndim == 2  # noqa: PLR2004 - a matrix
        name = self._names.get(id(weight)) or (self._names.get(id(base)) if whole else None)
        return name or (self._inside[-1] if self._inside and not isinstance(weight, nn.Parameter) else None)

    def weight(self, weight: Tensor, axis: int = 0) -> Tensor:
        """Return a weight as it will be stored, with one scale for each place along the axis."""
        name = self.name_of(weight)
        if name is not None:
            turned = id(weight) not in self._names and id(weight._base) in self._names  # noqa: SLF001 - a transpose
            self.met[name] = 1 - axis if turned else axis
        return weight if self._starting is not None else rounded_weight(weight, axis)

    def linear(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, rounded: Tensor | None = None, part: str = ""
    ) -> Tensor:
        """Return x @ weight.T + bias, all rounded. rounded: the weight, if it already is; part: tells uses apart."""
        held = self.weight(weight) if rounded is None else rounded
        if not part:
            self._note(weight, bias, x, -1, _rows)
        return self._product(f"{self.name_of(weight)}{part}", lambda x: F.linear(x, held, bias), x, -1)

    def _product(self, name: str, compute: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> Tensor:
        return self._leave(f"{name} output", compute(self._round(f"{name} input", x, axis)), axis)

    def _note(
        self, weight: Tensor, bias: Tensor | None, x: Tensor, axis: int, rows: Callable[[Tensor], Tensor]
    ) -> None:
        """Note what a product reads, for the rounding of its weight."""
        name = self.name_of(weight)
        if self._starting is None or name is None:
            return
        if name not in self._starting:
            whole = weight if id(weight) in self._names else weight._base  # noqa: SLF001 - a transpose of it
            point = self._point(f"{name} input", axis)
            self._starting[name] = Product(weight if whole is None else whole, bias, point)
        self._starting[name].rows.append(rows(x.detach()))

    def _leave(self, name: str, raw: Tensor, axis: int) -> Tensor:
        y = self._round(name, raw, axis)
        self._last = name, y, raw, axis
        if self._seeing and "relu" not in name:
            self._leaving.append((y.untyped_storage().data_ptr(), self.points[name]))
        return y

    def _round(self, name: str, values: Tensor, axis: int) -> Tensor:
        point = self._point(name, axis)
        if not self._seeing:
            return point.rounded(values) if point.scale else values
        point.see(values)
        return values

    def _point(self, name: str, axis: int) -> Point:
        if name not in self.points:
            self.points[name] = Point(name, self.bits, axis, entering=name.endswith(" input"))
        return self.points[name]

    def _before(self, *_: object) -> None:
        if self._seeing:
            return
        training = torch.is_grad_enabled()
        self._passes += training
        if training and self._passes % REFRESH == 0:
            self.calibrate()
        for point in self.points.values():
            point.share = 1 + SHAKE * float(self._random.uniform(-1, 1)) if training else 1.0

    def _after(self, _: nn.Module, __: object, output: object) -> None:
        self._last = None
        if self._seeing:
            given = {tensor.untyped_storage().data_ptr() for tensor in tensors(output)}
            for pointer, point in self._leaving:
                point.apart = point.apart or pointer in given
            self._leaving.clear()


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _linear(mode: Quantizing, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:  # noqa: A002 - its name
    if mode.name_of(weight) is None:
        return func(input, weight, bias)
    return mode.linear(input, weight, bias)


def _convolution(  # noqa: PLR0917 - as PyTorch calls it
    mode: Quantizing,
    func: Any,
    input: Tensor,  # noqa: A002 - its name
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    name = mode.name_of(weight)
    if name is None:
        return func(input, weight, bias, stride, padding, dilation, groups)
    held = mode.weight(weight)
    if groups == 1 and not isinstance(padding, str):
        mode._note(weight, bias, input, 1 - weight.ndim, windows(weight, stride, padding, dilation))  # noqa: SLF001 - its rule
    return mode._product(  # noqa: SLF001 - its rule
        name, lambda x: func(x, held, bias, stride, padding, dilation, groups), input, 1 - weight.ndim
    )


def _matmul(mode: Quantizing, func: Any, *matrices: Tensor) -> Any:
    name = mode.name_of(matrices[1]) if len(matrices) == 2 else None  # noqa: PLR2004 - two matrices
    if name is None or matrices[1].ndim != 2:  # noqa: PLR2004 - a matrix
        return func(*matrices)
    held = mode.weight(matrices[1], 1)
    mode._note(matrices[1], None, matrices[0], -1, _rows)  # noqa: SLF001 - its rule
    return mode._product(name, lambda x: func(x, held), matrices[0], -1)  # noqa: SLF001 - its rule


def _table(mode: Quantizing, func: Any, input: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Any:  # noqa: A002 - its name
    if mode.name_of(weight) is None or weight.numel() < TABLE_LEAST:
        return func(input, weight, *rest, **named)
    return func(input, mode.weight(weight, 1), *rest, **named)


def _behind(mode: Quantizing, func: Any, *args: Any, **named: Any) -> Any:
    """2: let what stands directly behind a product come before its output is rounded."""
    last = mode._last  # noqa: SLF001 - its rule
    folds = last is not None and bool(args) and args[0] is last[1]
    if func in ADDITIONS:
        folds = folds and len(args) == 2 and id(args[1]) in mode._names and not named  # noqa: PLR2004, SLF001 - its rule
    elif func is F.batch_norm:
        folds = folds and not (args[5] if len(args) > 5 else named.get("training", False))  # noqa: PLR2004 - its place
    if last is None or not folds:
        return func(*args, **named)
    name, _, raw, axis = last
    return mode._leave(f"{name} {func.__name__}", func(raw, *args[1:], **named), axis)  # noqa: SLF001 - its rule


def _attention(  # noqa: PLR0917 - as PyTorch calls it
    mode: Quantizing,
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,  # noqa: FBT001 - as PyTorch calls it
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    **named: Any,
) -> Any:
    """Project with rounded products, and let PyTorch do the rest between projections that change nothing."""
    own = [named.pop(f"{letter}_proj_weight", None) for letter in "qkv"]
    named.pop("use_separate_proj_weight", None)
    between = num_heads, bias_k, bias_v, add_zero_attn, dropout_p
    if mode.name_of(out_proj_weight) is None:
        separate = dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), own, strict=True))
        return func(
            query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, *between[1:],
            out_proj_weight, out_proj_bias, use_separate_proj_weight=in_proj_weight is None, **separate, **named,
        )  # fmt: skip
    if in_proj_weight is not None and query is key and key is value:
        projected = mode.linear(query, in_proj_weight, in_proj_bias).chunk(3, -1)
    else:
        weights = own if in_proj_weight is None else [in_proj_weight] * 3
        rounded = [mode.weight(weight) for weight in weights]
        if in_proj_weight is not None:
            rounded = list(rounded[0].chunk(3))
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        projected = tuple(
            mode.linear(x, weight, bias, rounded=held, part=f" of the {what}")
            for x, weight, bias, held, what in zip(
                (query, key, value), weights, biases, rounded, ("query", "key", "value"), strict=True
            )
        )
    same = torch.eye(embed_dim_to_check, dtype=query.dtype, device=query.device)
    attended, shares = func(
        *projected, embed_dim_to_check, num_heads, same.repeat(3, 1), None, *between[1:], same, None, **named
    )
    return mode.linear(attended, out_proj_weight, out_proj_bias), shares


ADDITIONS = {torch.add, Tensor.add, Tensor.__add__}
RULES: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.embedding: _table,
    F.multi_head_attention_forward: _attention,
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm), _matmul),
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu, F.batch_norm, *ADDITIONS), _behind),
    **dict.fromkeys(recurrent.LAYERS, recurrent.layers),
    **dict.fromkeys(recurrent.CELLS, recurrent.cell),
}


def _run(module: nn.Module, batch: Batch) -> None:
    try:
        module(*batch)
    except ExportError:
        raise
    except Exception as cause:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in batch)
        raise ExportError(f"the module does not run on frames {shapes}: {first_line(cause)}") from cause
