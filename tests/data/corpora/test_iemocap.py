from __future__ import annotations

from pathlib import Path

import pytest
from sounds import write_sine

from cogaudio_rl.data.corpora.emotions import IEMOCAP_VOTES
from cogaudio_rl.data.corpora.iemocap import (
    folds,
    parse_evaluation,
    parse_transcripts,
    read,
    shares,
)
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

DIALOGUE = "Ses01F_impro01"
EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tNeutral; Anger;\t(a bit; tired)
C-F1:\tAnger;\t()
C-M1:\tAnger;\t()
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 3; act 2; dom  1;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()
C-E3:\tHappiness;\t()
C-E4:\tFrustration;\t()

[14.8872 - 18.0175]\tSes01F_impro01_F002\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tOther;\t(resigned)

[20.0 - 21.0]\tSes01F_impro01_F003\tfru\t[2.5, 2.5, 2.5]
C-E2:\tFrustration;\t()

[22.0 - 23.0]\tSes01F_impro01_F004\tfea\t[2.5, 2.5, 2.5]
C-E2:\tFear;\t()
"""
TRANSCRIPT = """Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses01F_impro01_M001 [010.0100-011.3925]: Do you have your forms?
M: Uh.
Ses01F_impro01_F002 [014.8872-018.0175]: Yeah.
Ses01F_impro01_F003 [020.0000-021.0000]: Let me see them.
Ses01F_impro01_F004 [022.0000-023.0000]: Excuse me!
"""


def a_corpus(root: Path, evaluation: str = EVALUATION, transcript: str = TRANSCRIPT) -> Path:
    for number in range(1, 6):
        session, dialogue = root / f"Session{number}", f"Ses0{number}F_impro01"
        for folder, text in (("EmoEvaluation", evaluation), ("transcriptions", transcript)):
            path = session / "dialog" / folder / f"{dialogue}.txt"
            path.parent.mkdir(parents=True)
            path.write_text(text.replace(DIALOGUE, dialogue))
        for name in ("F000", "M001", "F002", "F003", "F004"):
            write_sine(session / "sentences" / "wav" / dialogue / f"{dialogue}_{name}.wav")
    return root


def chosen(utterance: Utterance) -> dict[str, float]:
    return {name: share for name, share in (utterance.votes or {}).items() if share}


def test_four_classes_and_their_votes(root: Path) -> None:
    reading = read(a_corpus(root))
    assert len(reading.utterances) == 10
    found = {u.id: u for u in reading.utterances}
    neutral = found["iemocap_Ses01F_impro01_F000"]
    assert (neutral.emotion, neutral.speaker, neutral.language) == ("neutral", "iemocap_01F", "en")
    assert neutral.transcript == "Excuse me."
    assert chosen(neutral) == pytest.approx({"neutral": 2.5 / 3, "angry": 0.5 / 3})
    assert neutral.listeners == 3
    assert set(neutral.votes or {}) == set(IEMOCAP_VOTES.values())
    happy = found["iemocap_Ses01F_impro01_M001"]
    assert (happy.emotion, happy.speaker) == ("happy", "iemocap_01M")
    thirds = {"excited": 1 / 3, "happy": 1 / 3, "frustrated": 1 / 3}
    assert chosen(happy) == pytest.approx(thirds)
    assert reading.counts["utterances"] == {"found": 10, "known": 5_531}
    assert reading.counts["happy"] == {"found": 5, "known": 1_636}
    assert reading.counts["speakers"] == {"found": 10, "known": 10}
    assert sum(reading.counts[c]["known"] or 0 for c in ("angry", "happy", "neutral", "sad")) == (
        5_531
    )


def test_other_labels_are_rejected_as_expected(root: Path) -> None:
    reading = read(a_corpus(root))
    assert not reading.damage
    assert not reading.repairs
    reasons = {r.reason.split(" is not")[0] for r in reading.rejected}
    assert reasons == {"label 'xxx' (undecided)", "label 'fru' (frustrated)", "label 'fea' (fear)"}
    assert len(reading.rejected) == 15


def test_more_classes_can_be_asked_for(root: Path) -> None:
    reading = read(a_corpus(root), classes=("neutral", "fear"))
    assert {u.emotion for u in reading.utterances} == {"neutral", "fear"}
    with pytest.raises(DataError, match="classes: unknown emotion 'frustrated'"):
        read(root, classes=("frustrated",))


def test_the_same_words_are_one_family(root: Path) -> None:
    reading = read(a_corpus(root), classes=("neutral", "fear"))
    assert len({u.text_id for u in reading.utterances}) == 1


def test_sessions_are_folds(root: Path) -> None:
    found = folds(read(a_corpus(root)).utterances)
    assert list(found) == [f"Session{n}" for n in range(1, 6)]
    assert found["Session3"] == ["iemocap_03F", "iemocap_03M"]


def test_shares_split_an_annotators_vote() -> None:
    assert shares([("a",), ("a", "b"), ("b", "c")]) == {"a": 0.5, "b": pytest.approx(1 / 3)} | {
        "c": pytest.approx(1 / 6)
    }
    assert shares([]) == {}


BAD_LINES = {
    "no block": ("C-E1:\tAnger;\t()\n", "line 1: an annotator's line outside a block"),
    "header": ("[1 - 2] Ses01F_impro01_F000 neu\n", "line 1: not '[start - end] utterance"),
    "name": ("[1 - 2]\tholiday\tneu\t[1, 1, 1]\n", "line 1: name 'holiday' is not one such as"),
    "junk": ("hello\n", "line 1: not a line of an evaluation: 'hello'"),
    "nothing heard": (EVALUATION + "C-E5:\t;\t()\n", "the annotator named no emotion"),
    "unknown": (EVALUATION + "C-E5:\tJoy;\t()\n", "unknown label 'Joy'; known: Anger"),
    "annotator": (EVALUATION + "C-5 Anger\n", "not an annotator's line"),
}


@pytest.mark.parametrize(("text", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_told(text: str, reason: str) -> None:
    _, bad = parse_evaluation(text)
    assert len(bad) == 1
    assert reason in bad[0]


@pytest.mark.parametrize("line", ["C-E5:\t;\t()", "C-E5:\tJoy;\t()", "C-5 Anger"])
def test_two_of_three_votes_are_no_shares_of_three(line: str, root: Path) -> None:
    """A vote that cannot be read is not made up for by the others."""
    evaluation = EVALUATION.replace("C-E4:\tFrustration;\t()", line)
    blocks, _ = parse_evaluation(evaluation)
    assert [block.listeners for block in blocks] == [3, 0, 1, 1, 1]
    reading = read(a_corpus(root, evaluation=evaluation))
    found = {u.id: u for u in reading.utterances}
    assert found["iemocap_Ses01F_impro01_M001"].votes is None
    assert found["iemocap_Ses01F_impro01_M001"].listeners is None
    assert found["iemocap_Ses01F_impro01_F000"].listeners == 3
    assert len(reading.repairs["no votes"]) == 5
    assert len(reading.damage) == 5


def test_votes_behind_a_bad_header_go_to_nobody(root: Path) -> None:
    broken = EVALUATION.replace("[10.0100 - 11.3925]", "[10.0100]")
    blocks, bad = parse_evaluation(broken)
    assert len(blocks) == 4
    assert len(bad) == 4
    reading = read(a_corpus(root, evaluation=broken))
    assert len(reading.utterances) == 5
    assert {r.reason for r in reading.damage if r.where.endswith(".wav")} == {
        "it has a sound and no evaluation"
    }


def test_an_unknown_consensus_is_rejected(root: Path) -> None:
    reading = read(a_corpus(root, evaluation=EVALUATION.replace("\tneu\t", "\tzzz\t")))
    assert len(reading.damage) == 5
    assert "unknown label 'zzz'; known: ang, hap, exc" in reading.damage[0].reason


def test_transcripts_are_read_and_asides_counted() -> None:
    lines, asides, bad = parse_transcripts(TRANSCRIPT + "what\n")
    assert lines[0] == ("Ses01F_impro01_F000", "Excuse me.")
    assert (len(lines), asides) == (5, 1)
    assert bad == ["line 7: not '<utterance> [start-end]: words': 'what'"]


def test_halves_and_strays_are_told(root: Path) -> None:
    a_corpus(root)
    wavs = root / "Session1" / "sentences" / "wav"
    (wavs / DIALOGUE / "Ses01F_impro01_F000.wav").unlink()
    write_sine(wavs / DIALOGUE / "Ses01F_impro01_F099.wav")
    write_sine(wavs / DIALOGUE / "Ses02F_impro01_F000.wav")
    write_sine(wavs / "stray.wav")
    dialog = root / "Session2" / "dialog"
    (dialog / "EmoEvaluation" / "Categorical").mkdir()
    twice = (dialog / "EmoEvaluation" / "Ses02F_impro01.txt").read_text()
    (dialog / "EmoEvaluation" / "Ses02F_impro02.txt").write_text(twice)
    words = dialog / "transcriptions" / "Ses02F_impro01.txt"
    words.write_text(words.read_text().replace("Ses02F_impro01_M001", "F"))
    reasons = {(r.where, r.reason) for r in read(root).damage}
    wav = f"Session1/sentences/wav/{DIALOGUE}"
    assert {
        ("Ses01F_impro01_F000", "it has an evaluation and no sound"),
        (f"{wav}/Ses01F_impro01_F099.wav", "it has a sound and no evaluation"),
        (f"{wav}/Ses02F_impro01_F000.wav", "not named as this dialogue's utterances are"),
        ("Session1/sentences/wav/stray.wav", "a file where dialogues' folders were expected"),
        (
            "Session2/dialog/EmoEvaluation/Ses02F_impro02.txt",
            "Ses02F_impro01_F000 is evaluated twice; the first is kept",
        ),
        (
            "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_M001.wav",
            "it has no transcript",
        ),
    } <= reasons


def test_a_missing_session_is_told(root: Path) -> None:
    write_sine(root / "Session2" / "sentences" / "wav" / "Ses02F_impro01" / "a.wav")
    reading = read(root)
    assert [r.where for r in reading.rejected if "session is missing" in r.reason] == [
        f"Session{n}" for n in (1, 3, 4, 5)
    ]


def test_a_bad_sound_is_rejected(root: Path, bad_sound) -> None:
    folder = a_corpus(root) / "Session1" / "sentences" / "wav" / DIALOGUE
    path = folder / "Ses01F_impro01_F000.wav"
    path.unlink()
    bad_sound.make(path)
    reading = read(root)
    (rejected,) = reading.damage
    assert bad_sound.reason in rejected.reason
    assert len(reading.utterances) == 9


def test_what_is_not_iemocap_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected 'Session<n>"):
        read(root)
    (root / "wav").mkdir(parents=True)
    with pytest.raises(DataError, match="does not hold this corpus; expected 'Session<n>"):
        read(root)
