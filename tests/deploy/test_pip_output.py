"""What set-up shows of pip's output."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "setup" / "pip_output.py"


@pytest.fixture(scope="module")
def pip_output() -> Any:
    """The script, loaded from its file: it is no package, since it runs before there is one."""
    spec = importlib.util.spec_from_file_location("pip_output", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_progress_is_reported_now_and_then_and_at_the_end(pip_output: Any) -> None:
    lines = [f"Collecting package{index}==1.0" for index in range(4)]
    said = list(pip_output.condense(iter(lines), 4, now=[10.0, 11.0, 16.0, 17.0]))
    assert said == ["  found 1 of 4 packages", "  found 3 of 4 packages", "  found 4 of 4 packages"]


def test_only_large_downloads_are_named(pip_output: Any) -> None:
    lines = ["  Downloading torch-2.13.0.whl (190.2 MB)", "  Downloading typer-1.0.whl (55 kB)"]
    assert list(pip_output.condense(iter(lines), 2)) == ["  downloading torch-2.13.0.whl (190.2 MB)"]


def test_errors_and_warnings_pass_and_two_known_ones_do_not(pip_output: Any) -> None:
    lines = [
        "WARNING: Location 'file:///some/index/typer/' is ignored: it is neither a file nor a directory.",
        "WARNING: Running pip as the 'root' user can result in broken permissions",
        "WARNING: Retrying (Retry(total=4)) after connection broken",
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
    ]
    assert list(pip_output.condense(iter(lines), 1)) == [f"  {line}" for line in lines[2:]]
