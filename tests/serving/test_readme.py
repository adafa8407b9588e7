"""The example in serving/README.md runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "serving" / "README.md"


def test_the_example_runs(tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None
    (tmp_path / "example.py").write_text(match[1], encoding="utf-8")
    ran = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)
    assert ran.returncode == 0, ran.stderr
    assert "refund_partial" in ran.stdout
    assert "done" in ran.stdout
    assert "deny" in ran.stdout
