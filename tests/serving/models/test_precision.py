"""What the catalogue says where the CPU is fast at it, float32 where it is not."""

from pathlib import Path

import pytest

from serving.models.catalog import load
from serving.models.convert import folder_name
from serving.models.precision import Precision, in_precision, suited
from tests.serving.models.conftest import make_entry


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx avx2 fma", "float32"),
        ("fpu avx avx2 fma avx_vnni", "catalogued"),
        ("fpu avx avx2 fma avx512f avx512bw", "catalogued"),
        ("fpu sse2 xavx512f", "float32"),  # whole names only
    ],
)
def test_the_cpu_s_flags_decide(tmp_path: Path, flags: str, precision: Precision) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nvendor_id\t: X\nflags\t\t: {flags}\nbugs\t: avx512f\n\nprocessor\t: 1\n")
    assert suited(told) == precision


@pytest.mark.parametrize("told", ["processor\t: 0\nFeatures\t: asimd\n", None])
def test_a_cpu_of_which_nothing_is_known_keeps_what_the_catalogue_says(tmp_path: Path, told: str | None) -> None:
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    assert suited(tmp_path / "cpuinfo") == "catalogued"


def test_in_float32_nothing_is_quantized_and_the_folder_is_another() -> None:
    known = load().entry(load().default)
    wide = in_precision(known, "float32")
    assert (wide.recipe, wide.engine["cpu"]["dtype"]) == ("none", "float32")
    assert wide.engine["cpu"].keys() == known.engine["cpu"].keys()
    assert folder_name(wide) != folder_name(known)
    assert in_precision(known, "catalogued") == known


def test_a_model_that_is_kept_as_it_comes_is_widened_too() -> None:
    kept = make_entry(recipe="none")
    assert in_precision(kept, "float32").engine["cpu"]["dtype"] == "float32"
    assert folder_name(in_precision(kept, "float32")) == folder_name(kept)


def test_what_a_gpu_is_told_stays_as_it_is() -> None:
    for entry in load().entries.values():
        assert in_precision(entry, "float32").engine.get("gpu") == entry.engine.get("gpu")
