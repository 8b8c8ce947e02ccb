"""byte_pairs against the whole text at once by the same tokenizer, for the designs that tokenizers come in."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_files import data
from text_streams import SPEC, through, tokens

from edgeseq.errors import ConfigError
from edgeseq.features import byte_pairs
from edgeseq.features.byte_pairs import MAX_WAIT, BytePairs

hf = pytest.importorskip("tokenizers", reason="needs the extra 'text': pip install 'edgeseq[text]'")
pre, norm, models, trainers = hf.pre_tokenizers, hf.normalizers, hf.models, hf.trainers

CORPUS = ["I'll say it's 12345 or 67 things, don't you?! hello  hello\n\nworld über naïve 中文 foo_bar(x) == y;"] * 8
# As GPT-4 cuts text, and as Llama 3 does; and digits in threes from the right, which looks ahead over all of them.
GPT4 = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
THREES = r"\p{L}+|\d{1,3}(?=(?:\d{3})*\b)|[^\p{L}\d\s]+|\s+"


def split(pattern: str) -> Any:
    return pre.Split(hf.Regex(pattern), "isolated")


def byte_level(*, prefix: bool = False, regex: bool = True) -> Any:
    return pre.ByteLevel(add_prefix_space=prefix, use_regex=regex)


# Name -> model and trainer, normalizer, pre-tokenizer.
DESIGNS: dict[str, tuple[str, Any, Any]] = {
    "gpt2": ("BPE", None, byte_level()),
    "roberta": ("BPE", None, byte_level(prefix=True)),
    "gpt4": ("BPE", None, pre.Sequence([split(GPT4), byte_level(regex=False)])),
    "threes": ("BPE", norm.NFC(), pre.Sequence([split(THREES), byte_level(regex=False)])),
    "bert": ("WordPiece", norm.BertNormalizer(), pre.BertPreTokenizer()),
    "t5": ("Unigram", norm.NFKC(), pre.Metaspace()),
    "metaspace": ("BPE", norm.Lowercase(), pre.Metaspace(prepend_scheme="first")),
    "words": ("WordLevel", norm.Strip(), pre.Sequence([pre.Whitespace(), pre.Digits(individual_digits=True)])),
}

TRAINERS = {"BPE": "Bpe"}
UNKNOWN = {"unk_token": "<unk>"}


def trained(design: str) -> Any:
    model, normalizer, pre_tokenizer = DESIGNS[design]
    special = ["<unk>", "<|end|>"]
    more = {"Unigram": UNKNOWN, "BPE": {"initial_alphabet": pre.ByteLevel.alphabet()}}.get(model, {})
    made = getattr(models, model)(**({} if model == "Unigram" else UNKNOWN))
    tokenizer = hf.Tokenizer(made)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = getattr(trainers, f"{TRAINERS.get(model, model)}Trainer")(
        vocab_size=420, special_tokens=special, show_progress=False, **more
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    for design in DESIGNS:
        trained(design).save(str(folder / f"{design}.json"))
    return {design: folder / f"{design}.json" for design in DESIGNS}


PARTS = ["hello", "I'll", "it's", "'", "l", "12345", "6", " ", "  ", "\n", "\n\n", "\t", "?!", ".", "<|end|>", "über",
         "中文", "e\u0301", "\u00a0", "\x1c", "_", "(", "\U0001f600", "<|", "A"]  # fmt: skip
TEXT = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


@pytest.mark.parametrize("design", DESIGNS)
@settings(deadline=None, max_examples=150)
@given(text=TEXT, cuts=st.lists(st.integers(0, 200), max_size=6))
def test_it_is_the_whole_texts(files: dict[str, Path], design: str, text: str, cuts: list[int]) -> None:
    feature = BytePairs(tokenizer=files[design], end="\0")
    found = through(feature, text + "\0", cuts)
    assert tokens(found) == byte_pairs.reference(files[design], text)
    assert found == through(feature, text + "\0"), "whatever the split, and from a new start"


@pytest.mark.parametrize("design", DESIGNS)
def test_a_words_tokens_come_with_the_first_blank_behind_it(files: dict[str, Path], design: str) -> None:
    feature = BytePairs(tokenizer=files[design])
    found = through(feature, "hello  hello\n\nworld")
    assert {t for t, _ in found} == {5, 12}
    whole = byte_pairs.reference(files[design], "hello  hello\n\nworld")
    assert tokens(found) == whole[: len(found)]


def test_each_line_may_be_a_text(files: dict[str, Path]) -> None:
    for design, file in files.items():
        lines = ["hello world", "", "hello", " it's 12345 "]
        found = tokens(through(BytePairs(tokenizer=file, end="\n"), "\n".join(lines) + "\n", range(50)))
        assert found == [token for line in lines for token in byte_pairs.reference(file, line)], design


def test_text_without_blanks_is_cut(files: dict[str, Path]) -> None:
    for design, file in files.items():
        feature = BytePairs(tokenizer=file, end="\0")
        text = "a!b?" * 5000
        found = through(feature, text + "\0", range(0, 20_000, 777))
        assert found == through(feature, text + "\0")
        assert max(np.diff([t for t, _ in found])) <= MAX_WAIT, design
        again = through(feature, text)
        assert len(feature._text) <= 2 * MAX_WAIT, design
        assert len(again) >= 0.9 * len(found)


def test_one_word_of_any_length_takes_little_memory(files: dict[str, Path]) -> None:
    feature = BytePairs(tokenizer=files["gpt4"])
    through(feature, "中" * 20_000)
    assert len(feature._text) <= MAX_WAIT


def test_real_messages(tmp_path: Path) -> None:
    text = (data("sms-spam") / "SMSSpamCollection").read_text("utf-8")[:60_000]
    for design in ("gpt2", "gpt4", "bert", "t5"):
        tokenizer = trained(design)
        tokenizer.save(str(tmp_path / "t.json"))
        feature = BytePairs(tokenizer=tmp_path / "t.json", end="\0")
        found = through(feature, text + "\0", range(0, 60_000, 4099))
        assert tokens(found) == byte_pairs.reference(tmp_path / "t.json", text), design


def test_special_tokens_lengths_and_padding_have_no_place_in_a_stream(tmp_path: Path) -> None:
    tokenizer = trained("roberta")
    tokenizer.post_processor = hf.processors.RobertaProcessing(("<|end|>", 1), ("<|end|>", 1))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(tmp_path / "t.json"))
    plain = trained("roberta").encode("hello world it's hello").ids
    assert tokens(through(BytePairs(tokenizer=tmp_path / "t.json", end="\n"), "hello world it's hello\n")) == plain


def test_a_nan_ends_a_text_and_what_is_no_code_point_is_a_replacement(files: dict[str, Path]) -> None:
    feature = BytePairs(tokenizer=files["gpt2"])
    feature.open(SPEC)
    values = np.array([*map(ord, "it"), np.nan, *map(ord, "hello"), 0.5, ord(" ")], np.float32)[:, None]
    t_ns, frames = feature.push(np.arange(10), values)
    expected = byte_pairs.reference(files["gpt2"], "hello\ufffd")
    np.testing.assert_array_equal(frames[:, 0], [np.nan, *expected])
    assert t_ns.tolist() == [2] + [9] * len(expected)


def written(path: Path, **more: Any) -> Path:
    document = json.loads(trained("gpt2").to_str())
    document["model"] |= more.pop("model", {})
    path.write_text(json.dumps(document | more), "utf-8")
    return path


def test_what_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    added = {"id": 500, "content": "a b", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}  # fmt: skip
    without = written(tmp_path / "none.json", pre_tokenizer=None)
    text = tmp_path / "text.json"
    text.write_text("{}")
    for file, message in (
        (tmp_path / "nowhere.json", "there is no such file"),
        (text, "is no tokenizer.json"),
        (without, "has no pre-tokenizer"),
        (written(tmp_path / "drop.json", model={"dropout": 0.1}), "draws at random"),
        (written(tmp_path / "blank.json", added_tokens=[added]), "'a b' has a blank inside"),
    ):
        with pytest.raises(ConfigError, match=re.escape(str(file)) + f".*{message}"):
            BytePairs(tokenizer=file)
    assert tokens(through(BytePairs(tokenizer=without, end="\n"), "hello\n")) == byte_pairs.reference(without, "hello")
    with pytest.raises(ConfigError, match="end must be one character"):
        BytePairs(tokenizer=files["gpt2"], end="\r\n")
