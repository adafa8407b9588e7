"""`keepword keys`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.admission.keys import digest_of
from serving.cli import build_app

runner = CliRunner()


def test_a_key_is_shown_once_listed_without_itself_and_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWORD_DATA_DIR", str(tmp_path))
    app = build_app()
    options = ["--scope", "turns", "--scope", "operator", "--tenant", "acme", "--weight", "2", "--json"]
    made = json.loads(runner.invoke(app, ["keys", "create", "alice", *options]).stdout)
    assert made["scopes"] == ["operator", "turns"]
    assert runner.invoke(app, ["keys", "create", "alice", "--tenant", "acme"]).exit_code != 0
    listing = runner.invoke(app, ["keys", "list", "--json"]).stdout
    assert made["key"] not in listing
    assert digest_of(made["key"]) not in listing
    assert made["key"].encode() not in (tmp_path / "keepword.db").read_bytes()
    assert [(each["id"], each["revoked"]) for each in json.loads(listing)["keys"]] == [(made["id"], False)]
    assert runner.invoke(app, ["keys", "revoke", made["id"]]).exit_code == 0
    assert json.loads(runner.invoke(app, ["keys", "list", "--json"]).stdout)["keys"][0]["revoked"]
    assert runner.invoke(app, ["keys", "revoke", "nothing"]).exit_code != 0
