"""characters, words and kmers against plain loops over the whole text, for any split."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_files import data
from text_streams import SPEC, through, tokens

from edgeseq.errors import ConfigError
from edgeseq.features import characters, kmers, words
from edgeseq.features.characters import Characters
from edgeseq.features.kmers import Kmers
from edgeseq.features.words import MAX_WORD, Words
from edgeseq.types import Channel, StreamSpec

CUTS = st.lists(st.integers(0, 200), max_size=8)
UNKNOWN = st.sampled_from([0, 99, "skip"])
TEXT = st.text(
    st.sampled_from("abAB .,_9\n\tüß中\U0001f600\ufffd") | st.characters(exclude_categories=["Cs"]), max_size=80
)
LETTERS = ["<pad>", "a", "b", "ü", "\U0001f600", "\n"]
WORDS = ["a", "b", "ab", "A", ".", "\U0001f600", "中", "üß", "_9"]


@settings(deadline=None)
@given(TEXT, CUTS, UNKNOWN)
def test_characters(text: str, cuts: list[int], unknown: Any) -> None:
    found = through(Characters(vocabulary=LETTERS, unknown=unknown), text, cuts)
    assert tokens(found) == characters.reference(text, LETTERS, unknown)
    if unknown != "skip":
        assert [t for t, _ in found] == list(range(len(text)))


@settings(deadline=None, max_examples=300)
@given(TEXT, CUTS, UNKNOWN, st.sampled_from(["blanks", "marks"]), st.booleans())
def test_words(text: str, cuts: list[int], unknown: Any, split: Any, lowercase: bool) -> None:  # noqa: FBT001
    keys: dict[str, Any] = {"vocabulary": WORDS, "unknown": unknown, "split": split, "lowercase": lowercase}
    found = through(Words(**keys), text + "\n", cuts)
    assert tokens(found) == words.reference(text, **keys)
    assert found == through(Words(**keys), text + "\n")


def test_a_word_comes_with_the_character_behind_it_and_a_mark_at_once() -> None:
    keys: dict[str, Any] = {"vocabulary": ["no", ",", "yes"], "unknown": 3}
    assert through(Words(**keys, split="marks"), "no, yes!") == [(2, 0), (2, 1), (7, 2), (7, 3)]
    assert through(Words(**keys), "no, yes!") == [(3, 3)], "the last word may go on"


def test_a_word_of_any_length_takes_little_memory() -> None:
    feature = Words(vocabulary=["x" * MAX_WORD], unknown=1)
    assert tokens(through(feature, "x" * MAX_WORD + " " + "x" * 100_000 + "\n", range(0, 100_000, 997))) == [0, 1]
    through(feature, "x" * 100_000)
    assert len(feature._begun) == MAX_WORD + 1


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.sampled_from("ACGTacgtN\n"), max_size=60),
    CUTS,
    UNKNOWN,
    st.tuples(st.integers(1, 5), st.integers(1, 7)),
    st.booleans(),
)
def test_kmers(text: str, cuts: list[int], unknown: Any, size: tuple[int, int], fold: bool) -> None:  # noqa: FBT001
    k, stride = size
    feature = Kmers(k=k, stride=stride, unknown=unknown, ignore_case=fold, leave_out="\n")
    read = text.replace("\n", "")
    expected = kmers.reference(read.upper() if fold else read, k, stride, "ACGT", unknown)
    found = through(feature, text, cuts)
    assert tokens(found) == expected
    places = [place for place, letter in enumerate(text) if letter != "\n"]
    if unknown != "skip":
        assert [t for t, _ in found] == places[k - 1 :: stride]


def test_every_kmer_has_a_number_of_its_own() -> None:
    k12 = Kmers(k=12, unknown=0)
    assert tokens(through(k12, "A" * 12 + "T" * 12))[::12] == [0, 4**12 - 1]
    both = {tuple(tokens(through(Kmers(k=2, unknown=16), a + b))) for a in "ACGT" for b in "ACGT"}
    assert both == {(float(n),) for n in range(16)}


def test_kmers_of_real_promoters() -> None:
    text = (data("dna") / "promoter.fasta").read_text("utf-8")[:20_000]
    found = tokens(through(Kmers(k=6, unknown="skip", ignore_case=True), text, range(0, 20_000, 613)))
    assert found == kmers.reference(text.upper(), 6, 1, "ACGT", "skip")
    assert len(found) > 10_000


def test_words_of_real_messages() -> None:
    text = (data("sms-spam") / "SMSSpamCollection").read_text("utf-8")[:50_000]
    vocabulary = sorted(set(words.RULES["marks"].findall(text.lower())))[::2]
    keys: dict[str, Any] = {"vocabulary": vocabulary, "unknown": len(vocabulary), "split": "marks", "lowercase": True}
    found = through(Words(**keys), text + "\n", range(0, 50_000, 997))
    assert tokens(found) == words.reference(text, **keys)


EACH = [
    Characters(vocabulary=["a"], unknown=1),
    Words(vocabulary=["a"], unknown=1, split="marks"),
    Kmers(k=1, alphabet="a", unknown=1),
]


@pytest.mark.parametrize("feature", EACH, ids=lambda each: type(each).__name__)
def test_what_is_no_code_point_is_an_unknown_character(feature: Any) -> None:
    feature.open(SPEC)
    wrong = np.array([0.5, -1, 1e9, np.inf, -np.inf, 0xD800, 0xDFFF, 97, 32], np.float32)[:, None]
    found = feature.push(np.arange(len(wrong)), wrong)[1][:, 0].tolist()
    assert found[:7] == [1] * 7
    assert found[7] == 0


def test_a_nan_is_nan_and_breaks_what_it_stands_in() -> None:
    values = np.array([*map(ord, "ab"), np.nan, *map(ord, "ab ")], np.float32)[:, None]

    def push(feature: Any) -> list[float]:
        feature.open(SPEC)
        return feature.push(np.arange(6), values)[1][:, 0].tolist()  # type: ignore[no-any-return]

    np.testing.assert_array_equal(push(Characters(vocabulary=["a", "b"], unknown=2)), [0, 1, np.nan, 0, 1, 2])
    np.testing.assert_array_equal(push(Characters(vocabulary=["a"], unknown="skip")), [0, np.nan, 0])
    np.testing.assert_array_equal(push(Words(vocabulary=["ab"], unknown=1)), [np.nan, 0])
    np.testing.assert_array_equal(push(Kmers(k=2, alphabet="ab", unknown=9)), [1, np.nan, np.nan, 1, 9])


def test_the_text_is_the_only_channel_or_the_one_named() -> None:
    several = StreamSpec((Channel("x"), Channel("log")), 10.0)
    feature = Characters(vocabulary=["a"], unknown=1, channel="log")
    assert feature.open(several) == StreamSpec((Channel("log.character"),), 10.0)
    assert Kmers(k=2, stride=5, unknown=0, channel="log").open(several).rate_hz == 2
    with pytest.raises(ConfigError, match=r"say which channel is the text .* x, log"):
        Characters(vocabulary=["a"], unknown=1).open(several)
    with pytest.raises(ConfigError, match="no channel 'lag'"):
        Words(vocabulary=["a"], unknown=1, channel="lag").open(several)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Characters(vocabulary=[], unknown=0), "vocabulary must have 1 to"),
        (lambda: Characters(vocabulary=["a", "b", "a"], unknown=0), "vocabulary has 'a' twice"),
        (lambda: Characters(vocabulary=["<pad>"], unknown=0), "no entry that is one character"),
        (lambda: Characters(vocabulary=["a"], unknown=-1), "unknown must be 'skip' or a token"),
        (lambda: Words(vocabulary=["a"], unknown=1 << 24), "unknown must be 'skip' or a token"),
        (lambda: Words(vocabulary=["a" * 257], unknown=1), "over 256 characters"),
        (lambda: Kmers(k=0, unknown=1), "k must be at least 1"),
        (lambda: Kmers(k=13, unknown=1), "4\\^k at most 2\\^24"),
        (lambda: Kmers(k=1, alphabet="AA", unknown=1), "alphabet must be different letters"),
        (lambda: Kmers(k=1, alphabet="Aa", ignore_case=True, unknown=1), "alphabet must be different letters"),
        (lambda: Kmers(k=1, alphabet="", unknown=1), "alphabet must be different letters"),
        (lambda: Kmers(k=1, leave_out="A", unknown=1), "leave_out has a letter of the alphabet"),
        (lambda: Kmers(k=1, stride=0, unknown=1), "hop must come to"),
    ],
)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
