"""An encoder-decoder's two graphs, as people see them: the closing table, the report, inspect, bench."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import seq2seq_models
import torch
from rich.console import Console
from test_diagram import check

import export
from edgeseq import cli
from edgeseq.bundle import Bundle, GenerateTable
from export import summary


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The encoder of this one sees all of its source."""
    torch.manual_seed(0)
    about = export.About(generate=GenerateTable(start=1, stop=2, max_length=20))
    module = seq2seq_models.T5(layers=1).eval()
    return export.export(
        (module, seq2seq_models.tokens()), tmp_path_factory.mktemp("pair") / "b", about=about, variants=["float32"]
    )


@pytest.fixture(scope="module")
def stepping(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The encoder of this one steps."""
    torch.manual_seed(0)
    module = seq2seq_models.Recurrent("GRU", "dot").eval()
    return export.export((module, seq2seq_models.tokens()), tmp_path_factory.mktemp("pair") / "b", variants=["float32"])


def table(bundle: Bundle) -> list[str]:
    file = io.StringIO()
    summary.show(bundle, Console(file=file, width=80))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_the_table_names_both_graphs(whole: Bundle, stepping: Bundle) -> None:
    for bundle in (whole, stepping):
        lines = table(bundle)
        assert all(len(line) <= 80 for line in lines[:-1])
        assert "…" not in "".join(lines)
        encoder, decoder = (next(line for line in lines if line.startswith(name)) for name in ("encoder", "decoder"))
        assert f"{bundle.manifest.parity[0].max_abs_err:.2g}" in decoder
        assert f"{bundle.manifest.parity[0].max_abs_err:.2g}" not in encoder
    assert "the encoder is no step: it runs once over the whole source" in " ".join(table(whole))
    assert "the decoder is to be reset after 20 frames at most" in " ".join(table(whole))


def test_the_report_draws_and_describes_all_three(whole: Bundle, stepping: Bundle) -> None:
    for bundle in (whole, stepping):
        text = (bundle.path / "report.md").read_text("utf-8")
        drawn = [check(found.splitlines())[0] for found in re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)]
        assert len(drawn) == 3
        assert {"input0", "input1"} <= set(drawn[0])
        assert any(key.startswith("held") for key in drawn[2])
        for heading in ("## The encoder", "## The decoder", "As trained:", "The encoder:", "The decoder:"):
            assert heading in text
        assert "of the longest target" in text
    assert "a frame of the source" in (whole.path / "report.md").read_text("utf-8")


def test_inspect_tells_them_apart(whole: Bundle, stepping: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for bundle in (whole, stepping):
        assert cli.main(["inspect", str(bundle.path)]) == 0
        told[bundle.path] = " ".join(capsys.readouterr().out.split())
    assert "no step: it runs once over the whole source" in told[whole.path]
    assert "to be reset after 20 frames" in told[whole.path]
    assert "generates from token 1 on, until token 2, at most 20 tokens" in told[whole.path]
    assert "target int64[1, 1] of 13 tokens → output" in told[whole.path]
    assert "delay 0, warm-up 0 steps memory without end; state gru0.h [1, 1, 12] decoder" in told[stepping.path]
    assert "generates" not in told[stepping.path]
    for text in told.values():
        assert re.search(r"holds of the encoder: .*float32\[[^]]*source", text)
        assert re.search(r"encoder\.float32\.onnx [^–]* – –", text), "the error is the decoder's"


def test_inspect_as_json_holds_both(whole: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(whole.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [graph["name"] for graph in document["manifest"]["graphs"]] == ["encoder", "decoder"]
    formats = "onnx", "tflite", "npz"
    assert set(document["bytes"]) == {
        f"{half}.float32.{ending}" for half in ("encoder", "decoder") for ending in formats
    }


def test_bench_says_what_it_measures(whole: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(whole.path)]) == 2
    assert "bench measures bundles of a single step" in capsys.readouterr().err


def test_several_inputs_and_outputs_are_told_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.mode, self.memory = torch.nn.Embedding(4, 3), torch.nn.GRU(5, 6, batch_first=True)
            self.late, self.early = torch.nn.Linear(6, 2), torch.nn.Linear(3, 1)

        def forward(self, mode: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            placed = self.mode(mode)
            return self.late(self.memory(torch.cat([placed, values], -1))[0]), self.early(placed)

    example = (torch.zeros(1, 9, dtype=torch.int64), torch.zeros(1, 9, 2))
    bundle = export.export((Two().eval(), example), tmp_path / "b", variants=["float32"])
    assert cli.main(["inspect", str(bundle.path)]) == 0
    told = capsys.readouterr().out
    assert "frames int64[1, 1] of 4 tokens, frames1 float32[1, 1, 2] → output" in told
    report = (bundle.path / "report.md").read_text("utf-8")
    assert "takes `frames`, 1 token and `frames1`, 2 numbers a step" in report
    nodes, _ = check(re.findall(r"```mermaid\n(.*?)```", report, re.DOTALL)[1].splitlines())
    assert {"input0", "input1", "output0", "output1"} <= set(nodes)
