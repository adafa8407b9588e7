"""Makes `.venv` what a lock file says: `python3.11 deploy/setup/environment.py deploy/requirements/cpu.txt`.

Run it as often as you like. A finished environment is recognized by its stamp and left alone; an interrupted one is
mended and finished; a broken one is built anew. Standard library only: it runs before anything is installed.
"""

import argparse
import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import interpreters
import pip_output

ROOT: Final = Path(__file__).resolve().parents[2]
DOWNLOAD_GB: Final = 1.2
DISK_GB: Final = 4.5
TORCH_CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
_NO_TORCH: Final = re.compile(r"No matching distribution found for torch|satisfies the requirement torch\b")


class SetupFailed(Exception):
    """Set-up cannot go on; the message says what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the virtual environment what a lock file says.")
    parser.add_argument("lock", type=Path, help="a hashed requirements file")
    parser.add_argument("--covers", type=Path, action="append", default=[], help="a lock this one contains")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--project", type=Path, default=ROOT, help="the project to install in place")
    parser.add_argument("--fastest", action="store_true", help="a new one may be built with a faster python3.11 of PATH")
    arguments = parser.parse_args()
    try:
        with alone(arguments.project):
            prepare(arguments.lock, tuple(arguments.covers), arguments.venv, arguments.project, arguments.fastest)
    except SetupFailed as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


@contextmanager
def alone(project: Path) -> Iterator[None]:
    """One set-up at a time. The lock lies on the project's folder and is inherited by pip: when this process is killed and
    its pip lives on, the next run waits for that pip."""
    folder = os.open(project, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("set-up: another set-up is at work here; waiting for it", file=sys.stderr)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def prepare(lock: Path, covers: tuple[Path, ...], venv: Path, project: Path, fastest: bool) -> None:
    """Bring `venv` to what `lock` says and install `project` in place; build it, where it must be built, with the `fastest`
    Python 3.11 of PATH, or else with the one that runs this. Raises SetupFailed."""
    if sys.version_info[:2] != (3, 11):
        raise SetupFailed(
            f"Python 3.11 is needed and this is {sys.version.split()[0]}: run make with PYTHON=/path/to/python3.11"
        )
    if not healthy(venv):
        build(venv, interpreters.fastest(os.environ.get("PATH", "")) if fastest else Path(sys.executable))
    stamp, busy = venv / "keepword-stamp.json", venv / "keepword-installing"
    done: dict[str, str] = json.loads(stamp.read_text()) if stamp.exists() else {}
    if done.get(lock.name) != digest(lock):
        if busy.exists() and (mended := mend(site_packages(venv))):
            print(f"set-up: an earlier run was interrupted; installing {', '.join(mended)} again", file=sys.stderr)
        busy.touch()
        install_lock(lock, venv)
        done |= {each.name: digest(each) for each in (lock, *covers)}
    if done.get("project") != (project_digest := digest(project / "pyproject.toml")):
        busy.touch()
        pip(venv, "install", "--quiet", "--no-build-isolation", "--no-deps", "--editable", str(project))
        done["project"] = project_digest
    write_whole(stamp, json.dumps(done))
    busy.unlink(missing_ok=True)


def healthy(venv: Path) -> bool:
    """Whether the environment's own Python is 3.11 and can run pip."""
    probe = "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"
    try:
        return subprocess.run([venv / "bin" / "python", "-c", probe], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def build(venv: Path, python: Path) -> None:
    """A new, empty environment in place of whatever is there."""
    if venv.exists():
        print(f"set-up: {venv} does not work; building it anew", file=sys.stderr)
        shutil.rmtree(venv)
    if python.resolve() != Path(sys.executable).resolve():
        print(f"set-up: taking {python}, the fastest Python 3.11 of PATH", file=sys.stderr)
    made = subprocess.run([python, "-m", "venv", venv], capture_output=True, text=True)
    if made.returncode != 0:
        raise SetupFailed(
            f"no virtual environment: {made.stdout.strip()}{made.stderr.strip()} (Debian: apt-get install python3.11-venv)"
        )


def site_packages(venv: Path) -> Path:
    return venv / "lib" / "python3.11" / "site-packages"


def install_lock(lock: Path, venv: Path) -> None:
    """Install every package of the lock, hashes checked. PyTorch's own index is asked only when nothing else has torch:
    an extra index that cannot be reached costs pip seconds for each package."""
    total = len(re.findall(r"^\w[^\s=]*==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    size = ""
    if total > 100 and not any(site_packages(venv).glob("torch-*")):
        free_gb = shutil.disk_usage(venv).free / 1e9
        if free_gb < DISK_GB:
            raise SetupFailed(f"{DISK_GB} GB of disk are needed and {venv} has {free_gb:.1f} GB")
        size = f": about {DOWNLOAD_GB} GB to download, {DISK_GB} GB on disk, some minutes"
    print(f"set-up: {total} packages from {lock.name}{size}", file=sys.stderr)
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-deps", "--require-hashes", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "--no-input", "-r", str(lock)]
    log = venv / "pip.log"
    status, output = pip_output.run(command, total, log)
    if status != 0 and _NO_TORCH.search(output):
        print("set-up: the package index has no CPU build of torch; adding PyTorch's own", file=sys.stderr)
        status, output = pip_output.run([*command, "--extra-index-url", TORCH_CPU_INDEX], total, log)
    if status != 0:
        raise SetupFailed(f"pip failed; its whole output is in {log}. Run the same command again to go on.")


def pip(venv: Path, *arguments: str) -> None:
    command = [str(venv / "bin" / "python"), "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, close_fds=False)
    if done.returncode != 0:
        raise SetupFailed(f"pip {arguments[0]} failed:\n{done.stderr.strip()[-2000:]}")


def mend(packages: Path) -> tuple[str, ...]:
    """Forget every half-installed package, so that pip installs it again. pip writes RECORD last: a package without one,
    or with a file missing or of another size, is half there. Returns the names forgotten."""
    forgotten = []
    for leftover in packages.glob("~*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for info in sorted(packages.glob("*.dist-info")):
        if not whole(info):
            shutil.rmtree(info)
            forgotten.append(info.name.split("-")[0])
    return tuple(forgotten)


def whole(info: Path) -> bool:
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as record:
            rows = [row for row in csv.reader(record) if len(row) == 3 and row[2]]
        return bool(rows) and all((info.parent / path).stat().st_size == int(size) for path, _, size in rows)
    except (OSError, ValueError):
        return False


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, whenever the machine stops."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
