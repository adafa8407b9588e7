import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agents.domain.errors import ModelFileError
from serving.models.convert import MANIFEST, complete, convert, faults
from tests.serving.models.conftest import CONTENT, make_entry

ENTRY = make_entry()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(CONTENT)
    return path


def quantize(source: Path, target: Path, recipe: str) -> None:
    (target / "config.json").write_text(recipe)
    (target / "model.safetensors").write_bytes(source.read_bytes()[:100])


def test_a_converted_folder_is_built_once(tmp_path: Path, source: Path, console: Console) -> None:
    first = convert(ENTRY, source, tmp_path, console, quantize=quantize)

    def again(source: Path, target: Path, recipe: str) -> None:
        raise AssertionError("converted twice")

    assert convert(ENTRY, source, tmp_path, console, quantize=again) == first
    assert complete(first)
    assert faults(first) == ()


def test_half_a_conversion_is_never_trusted(tmp_path: Path, source: Path, console: Console) -> None:
    def interrupted(source: Path, target: Path, recipe: str) -> None:
        (target / "config.json").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(ENTRY, source, tmp_path, console, quantize=interrupted)
    found = convert(ENTRY, source, tmp_path, console, quantize=quantize)
    assert (found / "config.json").read_text() == "int8-w8a8"
    assert [path.name for path in (tmp_path / "ready").iterdir()] == [found.name]


def test_a_folder_without_manifest_or_with_a_short_file_is_rebuilt(tmp_path: Path, source: Path, console: Console) -> None:
    found = convert(ENTRY, source, tmp_path, console, quantize=quantize)
    (found / MANIFEST).unlink()
    assert not complete(found)
    convert(ENTRY, source, tmp_path, console, quantize=quantize)
    (found / "model.safetensors").write_bytes(b"short")
    assert not complete(found)
    convert(ENTRY, source, tmp_path, console, quantize=quantize)
    assert faults(found) == ()


def test_changed_bytes_of_the_right_size_are_a_fault(tmp_path: Path, source: Path, console: Console) -> None:
    found = convert(ENTRY, source, tmp_path, console, quantize=quantize)
    (found / "model.safetensors").write_bytes(b"x" * 100)
    assert faults(found) == ("model.safetensors",)


def test_too_small_a_disk_is_noticed_before_converting(tmp_path: Path, source: Path, console: Console) -> None:
    with pytest.raises(ModelFileError, match="Converting tiny needs"):
        convert(ENTRY, source, tmp_path, console, quantize=quantize, free=lambda folder: 0)


def test_a_process_killed_while_converting_frees_the_lock_and_the_next_one_finishes(
    tmp_path: Path, source: Path, console: Console
) -> None:
    script = f"""
import sys
from pathlib import Path
from rich.console import Console
from serving.models.convert import convert
from tests.serving.models.conftest import make_entry

def stuck(source, target, recipe):
    (target / "config.json").write_text("half")
    print("half", flush=True)
    sys.stdin.read()

convert(make_entry(), Path({str(source)!r}), Path({str(tmp_path)!r}), Console(quiet=True), quantize=stuck)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
    found = convert(ENTRY, source, tmp_path, console, quantize=quantize)
    assert (found / "config.json").read_text() == "int8-w8a8"


def test_a_file_that_is_no_gguf_is_reported_and_leaves_no_folder(tmp_path: Path, source: Path, console: Console) -> None:
    with pytest.raises(ModelFileError, match=r"converting tiny\.gguf failed"):
        convert(ENTRY, source, tmp_path, console)
    assert not any(complete(folder) for folder in (tmp_path / "ready").iterdir())
