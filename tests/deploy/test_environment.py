"""The set-up script, run as people run it, on a lock of one package found in a local folder."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "setup" / "environment.py"
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/tinyproject-1-py3-none-any.whl", "w") as archive:
        archive.writestr("tinyproject-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tinyproject\\nVersion: 1\\n")
        archive.writestr("tinyproject-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("tinyproject-1.dist-info/RECORD", "")
    return "tinyproject-1-py3-none-any.whl"
build_wheel = build_editable
"""


@dataclass
class Place:
    """A project of its own with a lock, a folder pip looks in, and an environment to be."""

    project: Path
    lock: Path
    venv: Path
    environment: dict[str, str]

    def command(self) -> list[str]:
        return [sys.executable, str(SCRIPT), str(self.lock), "--venv", str(self.venv), "--project", str(self.project)]

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(), env=self.environment, capture_output=True, text=True, timeout=120)

    def imports(self) -> bool:
        probe = "import tinypackage, importlib.metadata as m; m.version('tinyproject')"
        return subprocess.run([self.venv / "bin" / "python", "-c", probe], capture_output=True, timeout=60).returncode == 0


def wheel() -> bytes:
    content = io.BytesIO()
    files = {
        "tinypackage/__init__.py": b"value = 1\n",
        "tinypackage-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n",
        "tinypackage-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(content, "w") as archive:
        rows = []
        for name, data in files.items():
            archive.writestr(name, data)
            checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={checksum},{len(data)}\n")
        archive.writestr("tinypackage-1.0.dist-info/RECORD", "".join(rows) + "tinypackage-1.0.dist-info/RECORD,,\n")
    return content.getvalue()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    project, wheels = tmp_path / "project", tmp_path / "wheels"
    project.mkdir()
    wheels.mkdir()
    (wheels / "tinypackage-1.0-py3-none-any.whl").write_bytes(wheel())
    lock = project / "cpu.txt"
    lock.write_text(f"tinypackage==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel()).hexdigest()}\n")
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (project / "pyproject.toml").write_text(system)
    (project / "backend.py").write_text(BACKEND)
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_NO_CACHE_DIR": "1"}
    return Place(project, lock, tmp_path / "venv", environment)


def test_a_new_environment_is_built_and_a_second_run_does_nothing(place: Place) -> None:
    first = place.run()
    assert first.returncode == 0, first.stderr
    assert place.imports()
    (place.venv / "pip.log").unlink()
    second = place.run()
    assert (second.returncode, second.stderr) == (0, "")
    assert not (place.venv / "pip.log").exists()


def test_a_half_installed_package_is_installed_again(place: Place) -> None:
    place.run()
    (place.venv / "keepword-stamp.json").unlink()
    (place.venv / "keepword-installing").touch()
    module = place.venv / "lib" / "python3.11" / "site-packages" / "tinypackage" / "__init__.py"
    module.write_text("")
    again = place.run()
    assert "installing tinypackage again" in again.stderr
    assert module.read_text() == "value = 1\n"


def test_a_broken_environment_is_built_anew(place: Place) -> None:
    place.run()
    (place.venv / "bin" / "python").unlink()
    (place.venv / "bin" / "python").write_text("")
    again = place.run()
    assert "does not work; building it anew" in again.stderr
    assert place.imports()


def test_a_killed_run_is_finished_by_the_next(place: Place) -> None:
    with subprocess.Popen(place.command(), env=place.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "1 packages from cpu.txt" in process.stderr.readline()
        process.kill()
    again = place.run()
    assert again.returncode == 0, again.stderr
    assert place.imports()


def test_a_package_with_another_hash_is_refused_and_the_log_is_named(place: Place) -> None:
    place.lock.write_text(place.lock.read_text().replace("sha256:", "sha256:0")[:-2] + "\n")
    done = place.run()
    assert done.returncode == 1
    assert "pip.log" in done.stderr
    assert not (place.venv / "keepword-stamp.json").exists()


def test_a_changed_lock_is_installed_on_top(place: Place) -> None:
    place.run()
    place.lock.write_text("# a comment\n" + place.lock.read_text())
    again = place.run()
    assert "1 packages from cpu.txt" in again.stderr
    assert again.returncode == 0


def faster_python(folder: Path) -> Path:
    """A `python3.11` that tells of less time than any other, and is ours behind it. What is called is noted beside it."""
    folder.mkdir()
    real = folder / "real"
    real.write_text(f'#!/bin/sh\necho "$2" >> {folder}/called\nexec {sys.executable} "$@"\n')
    told = f'{{"executable": "{real}", "seconds": 1e-9}}'
    (folder / "python3.11").write_text(f"#!/bin/sh\necho '{told}'\n")
    for each in (real, folder / "python3.11"):
        each.chmod(0o755)
    return real


@pytest.mark.parametrize(("asked", "taken"), [(("--fastest",), True), ((), False)])
def test_a_new_environment_gets_the_fastest_python_of_path_where_none_was_named(
    place: Place, tmp_path: Path, asked: tuple[str, ...], taken: bool
) -> None:
    real = faster_python(tmp_path / "faster")
    place.environment["PATH"] = f"{tmp_path / 'faster'}{os.pathsep}{place.environment['PATH']}"
    done = subprocess.run([*place.command(), *asked], env=place.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (f"taking {real}, the fastest" in done.stderr) is taken
    assert (tmp_path / "faster" / "called").exists() is taken
    assert place.imports()


@pytest.mark.parametrize(
    "script", ["exit 1", "echo no json", "sleep 0", """echo '{"executable": "/nowhere", "seconds": null}'"""]
)
def test_a_python_that_cannot_make_an_environment_is_not_taken(place: Place, tmp_path: Path, script: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "python3.11").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "broken" / "python3.11").chmod(0o755)
    place.environment["PATH"] = f"{tmp_path / 'broken'}{os.pathsep}{Path(sys.executable).resolve().parent}"
    command = [*place.command(), "--fastest"]
    done = subprocess.run(command, env=place.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "fastest" not in done.stderr
    assert place.imports()
