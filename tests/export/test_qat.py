"""Quantization-aware fine-tuning: what is rounded where, that nothing else changes, what it recovers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from export import ExportError, qat
from export.qat import points, products
from export.quantize.rounding import round_weights
from export.quantize.types import HEADROOM

RECURRENT = [
    pytest.param(kind, options, id="-".join([kind.__name__, *options]))
    for kind in (nn.GRU, nn.LSTM, nn.RNN)
    for options in ({}, {"num_layers": 3}, {"batch_first": True}, {"bias": False, "num_layers": 2})
] + [
    pytest.param(nn.RNN, {"nonlinearity": "relu"}, id="RNN-relu"),
    pytest.param(nn.LSTM, {"proj_size": 3, "num_layers": 2}, id="LSTM-proj_size"),
    pytest.param(nn.LSTM, {"proj_size": 2, "bias": False}, id="LSTM-proj_size-bias"),
]


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a module with all calls taken over, but nothing rounded: ranges are never chosen, weights are left."""
    monkeypatch.setattr(products, "rounded_weight", lambda weight, _=0: weight)

    def run(module: nn.Module, *inputs: Any) -> Any:
        quantizing = products.Quantizing(module, [], 8)
        with quantizing.attached(), quantizing:
            output = module(*inputs)
        assert quantizing.met
        return output

    return run


def flat(output: Any) -> list[torch.Tensor]:
    return (
        [output] if isinstance(output, torch.Tensor) else [t for part in output if part is not None for t in flat(part)]
    )


def same(found: Any, wanted: Any) -> None:
    for a, b in zip(flat(found), flat(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def small(kind: Any = nn.GRU, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return kind(4, 5, **options).double()


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_recurrent_layers_written_out_are_the_layers(kind: Any, options: dict[str, Any], unrounded: Any) -> None:
    module = small(kind, **options)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    _, state = module(x)
    for inputs in [(x,), (x, state), (x[:, 0],)]:
        same(unrounded(module, *inputs), module(*inputs))
    loss = [run(x)[0].square().sum() for run in (module, lambda x: unrounded(module, x))]
    wanted, found = (torch.autograd.grad(each, list(module.parameters())) for each in loss)
    same(found, wanted)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_packed_sequences_run_written_out(kind: Any, unrounded: Any) -> None:
    module = small(kind, num_layers=2)
    x = torch.randn(6, 4, 4, dtype=torch.float64)
    for lengths in ([6, 4, 4, 1], [2, 6, 1, 3]):
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        found, wanted = unrounded(module, packed), module(packed)
        same(found[0].data, wanted[0].data)
        same(found[1], wanted[1])


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.LSTMCell, nn.RNNCell])
def test_cells_are_the_cells(kind: Any, unrounded: Any) -> None:
    module = small(kind)
    x = torch.randn(3, 4, dtype=torch.float64)
    same(unrounded(module, x), module(x))
    same(unrounded(module, x, module(x)), module(x, module(x)))


def test_dropout_between_layers_drops(unrounded: Any) -> None:
    module, x = small(nn.GRU, num_layers=2, dropout=0.5), torch.randn(6, 3, 4, dtype=torch.float64)
    assert not torch.equal(unrounded(module, x)[0], unrounded(module, x)[0])
    module.eval()
    same(unrounded(module, x), module(x))


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"kdim": 3, "vdim": 5}, {"add_bias_kv": True}, {"batch_first": True}]
)
def test_attention_is_attention(options: dict[str, Any], unrounded: Any) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **options).double().eval()
    q, k, v = (
        torch.randn(5, 5, size, dtype=torch.float64) for size in (8, options.get("kdim", 8), options.get("vdim", 8))
    )
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    cases = [(q, k, v), (q, k, v, None, False, mask)] + [(q, q, q, None, True, mask)] * ("kdim" not in options)
    for case in cases:
        same(unrounded(module, *case), module(*case))


def test_weights_are_rounded_as_they_are_stored() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 20)) * 10 ** rng.uniform(-4, 4, (6, 1))
    weight[3] = 0
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    wanted = np.rint(weight / np.where(scale, scale, 1)) * scale
    for axis, given in ((0, weight), (1, weight.T)):
        found = points.rounded_weight(torch.tensor(given, dtype=torch.float32), axis)
        np.testing.assert_allclose(found.numpy(), (wanted.T if axis else wanted), rtol=1e-6)
        torch.testing.assert_close(points.rounded_weight(found, axis), found, rtol=1e-6, atol=0)


def test_the_exports_rounding_leaves_what_lies_on_the_grid() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20))
    held = inputs + rng.normal(size=inputs.shape) * 0.05
    grid = points.rounded_weight(torch.tensor(rng.normal(size=(6, 20)), dtype=torch.float32)).double().numpy()
    scale = (np.abs(grid).max(axis=1) / 127).astype(np.float32).astype(np.float64)
    stored, _ = round_weights(grid, scale, inputs, held)
    np.testing.assert_array_equal(stored, np.rint(grid / scale[:, None]))


def test_values_are_rounded_as_they_are_stored_and_gradients_end_at_the_range() -> None:
    rng = np.random.default_rng(2)
    rows = (0.1 * rng.normal(size=(500, 60))).astype(np.float32)
    rows[7, 3] = 1.5  # so rare that cutting it off pays
    point = points.Point("x", 8)
    point.see(torch.from_numpy(rows))
    point.settle()
    low, high = points.best_range(rows.min(0), rows.max(0), rows)
    assert high < rows.max()
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    x = torch.from_numpy(rows).requires_grad_()
    y = point.rounded(x)
    wanted = (np.clip(np.rint(rows / scale) + zero, -128, 127) - zero) * scale
    np.testing.assert_allclose(y.detach().numpy(), wanted, atol=1e-5 * scale)
    y.sum().backward()
    assert x.grad is not None
    inside = (np.rint(rows / scale) + zero >= -128) & (np.rint(rows / scale) + zero <= 127)
    np.testing.assert_array_equal(x.grad.numpy(), inside.astype(np.float32))
    assert not inside.all()


def test_sixteen_bits_have_no_zero_point() -> None:
    point = points.Point("x", 16)
    point.see(torch.tensor([[0.0, 1.0], [2.0, 4.0]]))
    point.settle()
    assert (point.scale, point.zero) == (pytest.approx(4 * HEADROOM["int16"].tensors / 32767), 0)


def test_convolutions_are_rounded_by_the_scheme() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv1d(3, 4, 3, dilation=2, padding=4), nn.ReLU())
    x = torch.randn(2, 3, 50)
    with torch.no_grad(), qat.prepared(module, [x]):
        found = module(x)
    weight = module[0].weight.detach()  # on its grid, being seen by then
    torch.testing.assert_close(points.rounded_weight(weight), weight)

    def stored(values: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        rows = seen.movedim(1, -1).reshape(-1, seen.shape[1])
        sample = rows[:: -(-len(rows) // points.ROWS)].numpy()
        low, high = points.best_range(rows.numpy().min(0), rows.numpy().max(0), sample)
        scale = (high - low) / 255
        zero = round(-128 - low / scale)
        held = (torch.clamp(torch.round(values / scale) + zero, -128, 127) - zero) * scale
        assert seen.min() < 0 or zero == -128  # the relu is the product's lower limit: no step is spent below it
        return held

    with torch.no_grad():
        held = stored(x, x)
        raw = module[0](held + (x - held).mean(dim=(0, 2))[None, :, None])
        wanted = stored(torch.relu(raw), module(x))
    assert ((found - wanted).abs() < 1e-5).float().mean() > 0.99  # but for sums that lie between two steps
    assert (found - wanted).abs().max() < module(x).max() / 250


def test_the_module_keeps_its_make_and_stays_in_its_mode() -> None:
    module = nn.Sequential(nn.Linear(3, 6), nn.GRU(6, 6, batch_first=True, dropout=0.0)).train()
    module[1].eval()
    before = {name: type(part) for name, part in module.named_modules()}
    keys, modes = list(module.state_dict()), [part.training for part in module.modules()]
    frames = [np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)]
    assert qat.finetune(module, frames, steps=2, window=10) is module
    with pytest.raises(RuntimeError), qat.prepared(module, frames):
        module(torch.zeros(1, 5, 4))
    assert {name: type(part) for name, part in module.named_modules()} == before
    assert list(module.state_dict()) == keys
    assert [part.training for part in module.modules()] == modes
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_only_the_module_itself_is_rounded() -> None:
    module, other = nn.Linear(3, 4), nn.Linear(3, 4)
    x = torch.randn(20, 3)
    wanted = other(x)
    with qat.prepared(module, [x]):
        assert torch.equal(other(x), wanted)
        assert not torch.equal(module(x), F.linear(x, module.weight.clone(), module.bias))


def test_the_modules_weights_come_to_lie_on_the_grid() -> None:
    torch.manual_seed(4)
    module = nn.Sequential(nn.Embedding(30, 6), nn.LSTM(6, 5, batch_first=True, proj_size=3))
    frames = [torch.randint(0, 30, (2, 20)), torch.randint(0, 30, (2, 20))]
    qat.finetune(module, frames, steps=4)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            found = points.rounded_weight(weight, 1 if name == "0.weight" else 0)
            torch.testing.assert_close(found, weight, rtol=1e-6, atol=0, msg=name)


class Own(nn.Module):
    """A product of a parameter of its own, in the forms that people write it in."""

    def __init__(self, write: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.weight, self.bias, self.write = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3)), write

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.write(x, self)


def test_products_written_by_hand_are_products() -> None:
    x = torch.randn(2, 30, 4)
    forms = [
        lambda x, own: x @ own.weight + own.bias,
        lambda x, own: torch.matmul(x, own.weight) + own.bias,
        lambda x, own: F.linear(x, own.weight.T, own.bias),
    ]
    found = []
    for form in forms:
        module = Own(form)
        with torch.no_grad(), qat.prepared(module, [x]):
            found.append(module(x))
        torch.testing.assert_close(points.rounded_weight(module.weight, 1), module.weight)
    # A bias added behind is seen to belong to its product; as the output's, it shifts the range.
    torch.testing.assert_close(found[1], found[0])
    assert (found[2] - found[0]).abs().max() < 0.02 * found[0].abs().max()


@pytest.mark.parametrize("make", [torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
def test_weights_that_a_layer_computes_are_rounded(make: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(6)
    module = nn.Sequential(make(nn.Conv1d(3, 5, 2)), nn.BatchNorm1d(5), nn.ReLU()).eval()
    x = torch.randn(4, 3, 40)
    wanted = module(x)
    quantizing = products.Quantizing(module, [(x,)], 8)
    with quantizing.attached(), quantizing:
        quantizing.start()
        found = module(x)
        found.square().mean().backward()
    assert quantizing.met == {"0": 0}
    assert "0 output batch_norm relu" in quantizing.points
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert 0 < float(((found - wanted).square().mean().sqrt() / wanted.std()).detach()) < 0.02


def test_what_stays_in_float_is_told() -> None:
    module = Own(
        lambda x, own: (
            torch.relu(nn.functional.linear(x, torch.eye(4))) + torch.einsum("bti,ij->bt", x, own.weight)[..., None]
        )
    )
    with pytest.raises(ExportError, match="Own: none of its parameters enters a product"):
        qat.finetune(module, [torch.randn(1, 9, 4)])
    mixed = nn.Sequential(nn.Linear(4, 4), module)
    with (
        pytest.warns(UserWarning, match=r"no product that is known here: 1\.weight\."),
        qat.prepared(mixed, [torch.randn(1, 9, 4)]),
    ):
        pass


def test_what_cannot_be_prepared_is_said() -> None:
    frames = [np.zeros((8, 4), np.float32)]
    cases: Sequence[tuple[nn.Module, Any, dict[str, Any], str]] = [
        (
            nn.Linear(4, 2),
            frames,
            {"variant": "int4"},
            "there is no variant 'int4' to fine-tune for. Did you mean 'int8'?",
        ),
        (nn.Linear(4, 2), [], {}, "fine-tuning needs frames"),
        (nn.Linear(5, 2), frames, {}, r"the module does not run on frames \(1, 8, 4\)"),
        (nn.Linear(4, 2), [np.full((8, 4), np.nan)], {}, "weight input: reaches NaN or infinity on the frames given."),
        (nn.GRU(4, 2, bidirectional=True), frames, {}, "weight_ih_l0: belongs to a bidirectional layer"),
        (nn.Linear(4, 2), frames, {"steps": 0}, "steps must be at least 1, not 0."),
        (
            nn.Linear(4, 2).requires_grad_(requires_grad=False),
            frames,
            {},
            "Linear: none of its parameters may be trained",
        ),
    ]
    for module, given, options, told in cases:
        with pytest.raises(ExportError, match=told):
            qat.finetune(module, given, **options)
        assert not module._forward_hooks


def test_torch_is_loaded_where_it_is_first_used() -> None:
    script = "import export, sys; print('torch' in sys.modules, export.qat.finetune.__name__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "finetune", "True"]


def test_the_documented_example_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "modeller.md").read_text("utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "qat" in block)
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    frames = [rng.normal(size=(40, 3)).astype(np.float32) for _ in range(3)]
    batches = [(torch.from_numpy(x), torch.from_numpy(x[:, :1])) for x in frames]
    before = [weight.detach().clone() for weight in model.parameters()]
    exec(compile(code, "docs/modeller.md", "exec"), {"model": model, "frames": frames, "batches": batches})  # noqa: S102 - the very code that readers copy
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
