import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.domain.errors import ModelFileError, NotFound
from serving.models import default_name, ensure, entry
from serving.models.catalog import load
from serving.models.cli import app
from serving.models.convert import folder_name, seal

runner = CliRunner()


def put_ready(cache: Path) -> Path:
    """A sealed folder where the default model's would be."""
    folder = cache / "ready" / folder_name(entry(default_name()))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    seal(folder, {})
    return folder


def test_list_says_which_models_are_ready(tmp_path: Path) -> None:
    folder = put_ready(tmp_path)
    result = runner.invoke(app, ["list", "--json", "--cache", str(tmp_path)])
    rows = json.loads(result.output)["models"]
    assert [row["folder"] for row in rows if row["ready"]] == [str(folder)]
    assert [row["name"] for row in rows if row["default"]] == [default_name()]


def test_the_table_names_every_model(tmp_path: Path) -> None:
    result = runner.invoke(app, ["list", "--cache", str(tmp_path)])
    assert all(name in result.output for name in load().entries)


def test_verify_finds_changed_bytes_and_stops_trusting_the_folder(tmp_path: Path) -> None:
    folder = put_ready(tmp_path)
    assert runner.invoke(app, ["verify", "--cache", str(tmp_path)]).exit_code == 0
    (folder / "config.json").write_text("[]")
    result = runner.invoke(app, ["verify", "--json", "--cache", str(tmp_path)])
    assert result.exit_code == 1
    assert json.loads(result.output) == {"faults": {default_name(): ["config.json"]}}
    assert not json.loads(runner.invoke(app, ["list", "--json", "--cache", str(tmp_path)]).output)["models"][0]["ready"]


def test_an_unknown_model_is_answered_with_what_there_is(tmp_path: Path) -> None:
    result = runner.invoke(app, ["pull", "gpt-9", "--cache", str(tmp_path)])
    assert isinstance(result.exception, NotFound)
    assert "qwen2.5-coder-0.5b" in result.exception.hint


def test_as_json_an_error_is_an_object_and_the_exit_status_one(tmp_path: Path) -> None:
    result = runner.invoke(app, ["pull", "gpt-9", "--json", "--cache", str(tmp_path)])
    assert result.exit_code == 1
    assert json.loads(result.output)["error"]["type"] == "not-found"


def test_a_gpu_model_is_not_prepared_for_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        ensure("qwen2.5-7b-awq", "cpu", cache=tmp_path, quiet=True)
    assert "gpu" in caught.value.hint
