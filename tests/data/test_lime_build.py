from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from cogaudio_rl.config import DataConfig
from cogaudio_rl.data.lime import author, check, synthesise
from cogaudio_rl.data.lime.build import LimeMini, build_lime_mini
from cogaudio_rl.data.lime.depths import annotate_nth
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Utterance

SMALL = DataConfig(train_utterances=42, rl_utterances=21, test_families=3, chinese_utterances=21)
TINY = DataConfig(train_utterances=7, rl_utterances=7, test_families=1, chinese_utterances=0)


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file of a corpus, by its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lime") / "corpus"


@pytest.fixture(scope="module")
def corpus(folder: Path) -> LimeMini:
    return build_lime_mini(SMALL, 0, folder, workers=1)


def test_sizes_are_as_asked_in_both_languages(corpus: LimeMini) -> None:
    assert [len(s) for s in (corpus.train, corpus.rl, corpus.test, corpus.chinese)] == [
        42,
        21,
        21,
        21,
    ]
    assert {u.language for u in (*corpus.train, *corpus.rl, *corpus.test)} == {"en"}
    assert {u.language for u in corpus.chinese} == {"zh"}


def test_the_corpus_passes_every_check_with_audio(corpus: LimeMini) -> None:
    check.check_corpus(corpus.train, corpus.rl, corpus.test)
    check.check_split("chinese", corpus.chinese)
    check.check_clipping((*corpus.train, *corpus.rl, *corpus.test, *corpus.chinese))


def test_the_test_split_is_of_unseen_texts_in_unseen_voices(corpus: LimeMini) -> None:
    learnt = (*corpus.train, *corpus.rl, *corpus.chinese)
    assert {u.speaker for u in corpus.test} <= set(synthesise.TEST_VOICES)
    assert {u.speaker for u in learnt} <= set(synthesise.TRAIN_VOICES)
    assert {u.text_id for u in corpus.test}.isdisjoint(u.text_id for u in learnt)
    assert {u.id for u in corpus.rl}.isdisjoint(u.id for u in corpus.train)


def test_emotions_and_intensities_are_balanced(corpus: LimeMini) -> None:
    cells = [(u.emotion, u.intensity) for u in corpus.train]
    assert {cells.count((e, i)) for e in LIME_EMOTIONS for i in INTENSITIES} == {2}


def test_nothing_a_model_reads_names_the_emotion(corpus: LimeMini) -> None:
    for utterance in (*corpus.train, *corpus.chinese):
        for text in (utterance.id, utterance.clip.path, utterance.transcript):
            assert utterance.emotion not in Path(text).name.lower()


def test_the_same_words_sound_different_in_each_emotion(corpus: LimeMini) -> None:
    loudness: dict[str, list[float]] = defaultdict(list)
    for utterance in (*corpus.train, *corpus.rl, *corpus.test):
        sound, _ = check.read_audio(utterance.clip.path)
        loudness[utterance.emotion].append(float((sound**2).mean() ** 0.5))
    mean = {emotion: sum(found) / len(found) for emotion, found in loudness.items()}
    assert mean["angry"] > 1.5 * mean["neutral"] > 1.5 * 1.5 * mean["sad"]


def test_several_annotations_of_one_sentence_and_emotion_differ() -> None:
    # Three rounds over the texts, without the cost of their speech.
    texts = author.split_sentences("en")["train"]
    replies = annotations_of_three_rounds(texts[:60])
    for found in replies.values():
        assert len({reply for reply, _ in found}) == 3
    depths = [depth for found in replies.values() for _, depth in found]
    shares = [depths.count(depth) / len(depths) for depth in author.DEPTHS]
    assert shares == pytest.approx(DataConfig().depth_mix, abs=0.04)


def annotations_of_three_rounds(texts: Any) -> dict[tuple[str, str], list[tuple[str, int]]]:
    found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for nth in range(3):
        for sentence in texts:
            for emotion in LIME_EMOTIONS:
                a = annotate_nth(sentence, emotion, nth=nth, mix=DataConfig().depth_mix, seed=0)
                found[sentence.text_id, emotion].append((a.eips.response, a.depth))
    return found


def test_it_is_the_same_to_the_byte_for_any_number_of_workers(
    corpus: LimeMini, folder: Path, tmp_path: Path
) -> None:
    del corpus
    build_lime_mini(SMALL, 0, tmp_path / "two", workers=2)
    assert fingerprint(tmp_path / "two") == fingerprint(folder)


def test_another_seed_is_another_corpus_of_the_same_families(tmp_path: Path) -> None:
    one = build_lime_mini(TINY, 0, tmp_path / "one", workers=1)
    two = build_lime_mini(TINY, 1, tmp_path / "two", workers=1)
    assert sounds(one.test) != sounds(two.test)


def sounds(utterances: tuple[Utterance, ...]) -> list[bytes]:
    return [Path(u.clip.path).read_bytes() for u in utterances]


def test_stats_say_what_is_in_it(corpus: LimeMini, folder: Path) -> None:
    stats = json.loads((folder / "stats.json").read_text())
    train = stats["splits"]["train"]
    assert train["utterances"] == 42
    assert train["families"] == 6
    assert train["by_emotion_and_intensity"]["fear"] == {"low": 2, "mid": 2, "high": 2}
    assert sum(train["by_depth"].values()) == 42
    assert train["hours"] == pytest.approx(
        sum(u.clip.seconds for u in corpus.train) / 3600, abs=1e-4
    )


def test_a_complete_corpus_is_used_again_and_another_is_replaced(tmp_path: Path) -> None:
    folder, made = tmp_path / "corpus", []
    build_lime_mini(TINY, 0, folder, workers=1, progress=lambda done, total: made.append(done))
    assert made == [7, 14, 21]
    again = build_lime_mini(TINY, 0, folder, workers=1, progress=lambda *_: made.append(-1))
    assert made == [7, 14, 21]
    larger = TINY.model_copy(update={"train_utterances": 14})
    assert len(build_lime_mini(larger, 0, folder, workers=1).train) == 14
    assert len(again.train) == 7


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="holds something other than LIME-mini"):
        build_lime_mini(TINY, 0, tmp_path, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_build_leaves_nothing(workers: int, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_lime_mini(SMALL, 0, tmp_path / "corpus", workers=workers, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_utterances": 10},
            r"data.train_utterances must be a multiple of 7.*got 10; 14 would",
        ),
        ({"test_families": 99}, r"data.test_families must be <= 57, got 99"),
    ],
)
def test_impossible_sizes_are_named(changes: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        build_lime_mini(TINY.model_copy(update=changes), 0, tmp_path / "corpus", workers=1)
