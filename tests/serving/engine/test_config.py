"""The engine's configuration: vLLM's names, our own, and the environment."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agents.domain.errors import SettingsInvalid
from serving.engine.config import EngineConfig


def test_arguments_vllm_names_reach_vllm_and_ours_do_not(tmp_path: Path) -> None:
    config = EngineConfig.of(tmp_path, "gpu", {"max_num_seqs": 7, "kv_cache_dtype": "fp8"}, name="small")
    arguments = config.engine_arguments()
    assert arguments["model"] == str(tmp_path)
    assert arguments["served_model_name"] == "small"
    assert (arguments["max_num_seqs"], arguments["kv_cache_dtype"]) == (7, "fp8")
    assert not {"profile", "threads", "preload", "structures", "more", "quantization"} & arguments.keys()


def test_arguments_win_over_the_cpu_profile(tmp_path: Path) -> None:
    assert EngineConfig.of(tmp_path, "cpu", {}).enforce_eager
    assert not EngineConfig.of(tmp_path, "cpu", {"enforce_eager": False}).enforce_eager


def test_argument_that_is_the_deployments_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="structures"):
        EngineConfig.of(tmp_path, "cpu", {"structures": []})


def test_unknown_field_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="thread"):
        EngineConfig.of(tmp_path, "cpu", {}, thread="0,1")


def test_preloads_that_exist_stand_before_inherited_ones(tmp_path: Path) -> None:
    library = tmp_path / "libiomp5.so"
    library.touch()
    config = EngineConfig(tmp_path, preload=(library, tmp_path / "missing.so"), threads="0,1")
    env = config.environment({"LD_PRELOAD": "other.so"})
    assert env["LD_PRELOAD"] == f"{library}:other.so"
    assert env["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"


def test_thread_count_is_said_aloud_when_threads_are_not_bound(tmp_path: Path) -> None:
    env = EngineConfig(tmp_path, threads="nobind", omp_threads=2).environment({})
    assert (env["VLLM_CPU_OMP_THREADS_BIND"], env["OMP_NUM_THREADS"]) == ("nobind", "2")


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_huge_pages_are_asked_for_unless_the_environment_has_said(
    tmp_path: Path, inherited: dict[str, str], expected: str
) -> None:
    assert EngineConfig(tmp_path, huge_pages=True).environment(inherited)["GLIBC_TUNABLES"] == expected


def test_the_cpu_profiles_engine_keeps_freed_memory_for_its_next_step(tmp_path: Path) -> None:
    """Said by the allocator itself: what is mapped anew, or trimmed, is faulted in again."""
    again = (
        "import ctypes, resource\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "def step():\n"
        "    place = libc.malloc(64 << 20)\n"
        "    ctypes.memset(place, 1, 64 << 20)\n"
        "    libc.free(place)\n"
        "step()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "step()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )

    def faults(config: EngineConfig) -> int:
        done = subprocess.run(
            [sys.executable, "-c", again], env=config.environment({}), capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    small = replace(EngineConfig.of(tmp_path, "cpu", {}), huge_pages=False)  # what is counted is then pages of 4 KiB
    assert faults(small) < 100
    assert faults(replace(small, keep_memory=False, preload=())) > 10_000


def test_gpu_profile_leaves_the_cpu_settings_alone(tmp_path: Path) -> None:
    env = EngineConfig(tmp_path, profile="gpu").environment({})
    assert "VLLM_CPU_OMP_THREADS_BIND" not in env
    assert "CUDA_VISIBLE_DEVICES" not in env
    assert "GLIBC_TUNABLES" not in env
