"""Whatever is wrong with what the user gives: one clear line, exit code 2, no traceback.

Every case is a whole command on a real folder, run in one process.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_world import make_checkpoint, make_utterances
from typer.testing import CliRunner, Result

from clusters.cli import app
from cogaudio_rl.config import LoraConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.models.checkpoint import save_adapter
from cogaudio_rl.types import Adapter


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three manifests: two sentences to train on, one for RL, one to test on."""
    folder = tmp_path / "corpus"
    spoken = make_utterances(folder / "audio", 28)
    for name, part in (("train", spoken[:14]), ("rl", spoken[14:21]), ("test", spoken[21:])):
        write_manifest(folder / f"{name}.jsonl", part)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


def cogaudio(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def sft(corpus: Path, backbone: Path, *more: str) -> Result:
    """A short stage I in this process."""
    return cogaudio(
        *("sft", "cluster.backend=local", "data.kind=manifest", f"data.root={corpus}"),
        *(f"model.path={backbone}", "out_dir=run"),
        *("sft.stage1.epochs=1", "sft.stage1.batch_size=14", *more),
    )


def refused(result: Result) -> str:
    """The one line of a command that was refused."""
    assert result.exit_code == 2, result.output
    (line,) = [s for s in result.stderr.strip().splitlines() if s.startswith("error: ")]
    assert "Traceback" not in result.output
    return line


def first_sound(corpus: Path, split: str = "train") -> Path:
    line = (corpus / f"{split}.jsonl").read_text("utf-8").splitlines()[0]
    return corpus / json.loads(line)["audio"]["path"]


def edit_first(corpus: Path, split: str, **changes: object) -> None:
    """Change fields of a manifest's first line."""
    path = corpus / f"{split}.jsonl"
    head, *rest = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([json.dumps(json.loads(head) | changes), *rest]) + "\n", "utf-8")


def stated(corpus: Path, rate_hz: int, samples: int) -> None:
    """Let the manifest say what the sound now is."""
    path = first_sound(corpus).relative_to(corpus).as_posix()
    edit_first(
        corpus,
        "train",
        audio={"path": path, "sample_rate_hz": rate_hz, "num_samples": samples},
    )


def test_good_input_trains(corpus: Path, backbone: Path) -> None:
    """Without it, the refusals below might all have another cause."""
    result = sft(corpus, backbone)
    assert result.exit_code == 0, result.output
    assert Path("run/checkpoints/stage1/adapter_model.safetensors").is_file()


def test_missing_sound(corpus: Path, backbone: Path) -> None:
    sound = first_sound(corpus)
    sound.unlink()
    line = refused(sft(corpus, backbone))
    assert sound.name in line
    assert "does not exist" in line


def test_unreadable_sound(corpus: Path, backbone: Path) -> None:
    sound = first_sound(corpus)
    sound.write_bytes(b"this is no sound")
    line = refused(sft(corpus, backbone))
    assert sound.name in line
    assert "cannot be read" in line


def test_sound_without_samples(corpus: Path, backbone: Path) -> None:
    sound = first_sound(corpus)
    soundfile.write(sound, np.zeros(0, np.float32), 16_000, format="WAV")
    assert "has 0 samples" in refused(sft(corpus, backbone))


def test_sound_with_nan(corpus: Path, backbone: Path) -> None:
    sound = first_sound(corpus)
    wave = np.full(16_000, np.nan, np.float32)
    soundfile.write(sound, wave, 16_000, format="WAV", subtype="FLOAT")
    stated(corpus, 16_000, 16_000)
    assert "NaN" in refused(sft(corpus, backbone))


@pytest.mark.parametrize(
    ("rate_hz", "channels", "note"),
    [
        (16_000, 2, "2 channels averaged to mono"),
        (8_000, 1, "resampled from 8000 Hz to 16000 Hz"),
        (96_000, 1, "resampled from 96000 Hz to 16000 Hz"),
    ],
)
def test_other_formats_train_with_a_note(
    rate_hz: int,
    channels: int,
    note: str,
    corpus: Path,
    backbone: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wave = np.random.default_rng(0).normal(0, 0.05, (rate_hz, channels))
    soundfile.write(first_sound(corpus), wave, rate_hz, format="WAV")
    stated(corpus, rate_hz, rate_hz)
    result = sft(corpus, backbone)
    assert result.exit_code == 0, result.output
    assert note in caplog.text


def test_unknown_label(corpus: Path, backbone: Path) -> None:
    edit_first(corpus, "test", emotion="melancholy")
    line = refused(sft(corpus, backbone))
    assert "test.jsonl line 1" in line
    assert "unknown emotion 'melancholy'; known: angry" in line


@pytest.mark.parametrize("split", ["train", "rl", "test"])
def test_empty_split(split: str, corpus: Path, backbone: Path) -> None:
    (corpus / f"{split}.jsonl").write_text("", "utf-8")
    said = refused(sft(corpus, backbone))
    assert f"split {split!r} is empty" in said or f"{split}.jsonl' holds no utterance" in said


def test_a_backbone_of_another_architecture(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}', "utf-8")
    assert "LlamaForCausalLM" in refused(sft(corpus, other))
    assert not Path("run").exists()


def test_an_adapter_of_another_architecture(corpus: Path, backbone: Path, tmp_path: Path) -> None:
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
    foreign = Adapter(version=0, tensors={name: np.zeros((8, 4), np.float32)})
    save_adapter(foreign, tmp_path / "foreign", lora=LoraConfig(r=8, alpha=32), base="gpt2")
    line = refused(sft(corpus, backbone, "--from", str(tmp_path / "foreign")))
    assert "is it of another architecture?" in line


def test_a_damaged_adapter(corpus: Path, backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    assert "is damaged" in refused(sft(corpus, backbone, "--from", str(folder)))
    assert not Path("run").exists()


def test_a_run_folder_that_is_there(corpus: Path, backbone: Path) -> None:
    assert sft(corpus, backbone).exit_code == 0
    before = {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")}
    line = refused(sft(corpus, backbone))
    assert "--resume" in line
    assert "--overwrite" in line
    assert {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")} == before


def test_a_judge_that_is_down_is_found_before_the_start(corpus: Path, backbone: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else will answer there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        judge = ("judge.kind=llm", f"judge.base_url={url}", "judge.model=m")
        line = refused(sft(corpus, backbone, *judge, "judge.max_attempts=1"))
    assert url in line
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("cluster.gpus_per_learner=1", "2 GPU are needed and 0 are free on 1 node(s)"),
        ("cluster.cpus_per_rollout=500", "CPU are needed"),
    ],
)
def test_workers_that_do_not_fit_are_named_before_the_start(
    override: str, why: str, corpus: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    line = refused(sft(corpus, backbone, "cluster.backend=ray", override))
    assert why in line
    assert "cluster.address" in line
    assert not Path("run").exists()


def test_rollouts_that_are_not_there(tmp_path: Path) -> None:
    line = refused(cogaudio("rl", "--debug-train-only", str(tmp_path / "none")))
    assert "none' holds no *.jsonl" in line
    line = refused(
        cogaudio("rl", "--debug-rollouts-only", "--debug-train-only", str(tmp_path / "none"))
    )
    assert "exclude each other" in line
