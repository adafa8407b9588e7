"""An environment for each peer, from its hashed lock, in the user's cache folder: peers' packages never meet ours."""

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from agents.domain.errors import SettingsInvalid

LOCKS = Path(__file__).parents[2] / "deploy" / "requirements" / "peers"
INSTALL_TIMEOUT_S = 900.0


def environment(peer: str, root: Path) -> Path:
    """The folder of the peer's environment under `root`, made when it is missing (up to minutes and 1 GB). Raises
    SettingsInvalid when there is no lock of that name or the packages cannot be installed."""
    lock = LOCKS / f"{peer}.txt"
    if not lock.is_file():
        known = ", ".join(sorted(path.stem for path in LOCKS.glob("*.txt"))) or "none: run from a checkout of the repository"
        raise SettingsInvalid(f"there is no environment for the peer {peer!r}", hint=f"Known: {known}.")
    folder = root / f"{peer}-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{peer}.lock"):
        if not (folder / "done").exists():
            _install(peer, lock, folder)
    return folder


def _install(peer: str, lock: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_TIMEOUT_S)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--requirement", str(lock)],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise SettingsInvalid(
            f"the packages of the peer {peer} could not be installed: {done.stderr.strip()[-400:]}",
            hint="Is a package index reachable? The same command goes on from here.",
        )
    (folder / "done").touch()
