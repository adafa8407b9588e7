import json
import subprocess
import sys

import pytest

from agents.domain.errors import ModelFileError, NotFound
from serving.models.catalog import Hub, Mirror, load, parse

GOOD = """
default = "m"
[model.m]
task = "generate"
license = "MIT"
about = "A model."
recipe = "none"
[model.m.file]
name = "m.gguf"
size_bytes = 10
sha256 = "{sha}"
[[model.m.source]]
kind = "hub"
repo = "a/b"
revision = "{commit}"
file = "m.gguf"
[model.m.engine.cpu]
max_model_len = 2048
""".format(sha="a" * 64, commit="b" * 40)


def test_a_correct_catalogue_is_read() -> None:
    entry = parse(GOOD).entry("m")
    assert entry.sources == (Hub("a/b", "b" * 40, "m.gguf"),)
    assert entry.engine == {"cpu": {"max_model_len": 2048}}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('default = "m"', 'default = "x"', "default names 'x'"),
        ('task = "generate"', 'task = "sing"', "model.m.task is 'sing'"),
        ('license = "MIT"', "license = 3", "model.m.license must be a string, not int"),
        ('about = "A model."', 'about = " "', "model.m.about is empty"),
        ('recipe = "none"', 'recipe = "int3"', "model.m.recipe is 'int3'"),
        ('recipe = "none"', 'recipe = "none"\nrecipie = "none"', "model.m.recipie is unknown"),
        ("size_bytes = 10", "size_bytes = 0", "model.m.file.size_bytes must be above 0"),
        ("size_bytes = 10", "", "model.m.file.size_bytes is missing"),
        ('name = "m.gguf"', 'name = "../m.gguf"', "model.m.file.name must be a bare file name"),
        ("a" * 64, "a" * 63, "model.m.file.sha256 must match"),
        ("b" * 40, "v1.0", r"model.m.source\[0\].revision must match"),
        ('kind = "hub"', 'kind = "ftp"', r"model.m.source\[0\].kind is 'ftp'"),
        ("engine.cpu", "engine.tpu", "model.m.engine.tpu is not a profile"),
        ("[model.m.engine.cpu]", "[model.m.engine", "not TOML"),
    ],
)
def test_a_mistake_is_reported_with_its_field(old: str, new: str, named: str) -> None:
    with pytest.raises(ModelFileError, match=named):
        parse(GOOD.replace(old, new))


def test_a_mirror_without_a_digest_to_check_is_refused() -> None:
    start, end = GOOD.index("[model.m.file]"), GOOD.index("[[model.m.source]]")
    text = GOOD[:start] + GOOD[end:].replace('kind = "hub"', 'kind = "mirror"')
    with pytest.raises(ModelFileError, match="no \\[file\\] with a sha256"):
        parse(text)


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        load().entry("gpt-9")
    assert "qwen2.5-coder-0.5b" in caught.value.hint


def test_the_default_model_runs_on_cpu_and_has_a_hub_and_a_mirror() -> None:
    entry = load().entry(load().default)
    assert "cpu" in entry.engine
    assert {type(source) for source in entry.sources} >= {Hub, Mirror}


def test_every_engine_argument_is_one_vllm_knows() -> None:
    script = "import dataclasses, json; from vllm.engine.arg_utils import AsyncEngineArgs as A; \
print('FIELDS' + json.dumps([f.name for f in dataclasses.fields(A)]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    known = set(json.loads(done.stdout.split("FIELDS")[1]))
    used = {key for entry in load().entries.values() for table in entry.engine.values() for key in table}
    assert used <= known
