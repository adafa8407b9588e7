"""What the engine is told: vLLM's arguments and the environment its processes start in. Nothing here imports vLLM."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self

from agents.domain.errors import SettingsInvalid
from agents.ports import Structure

Profile = Literal["cpu", "gpu"]
SHARED_CPUS: Final = 4
HUGE_PAGES: Final = {"glibc.malloc.hugetlb": 1}
KEPT_MEMORY: Final = {
    "glibc.malloc.mmap_threshold": 8 << 30,
    "glibc.malloc.trim_threshold": 8 << 30,
    "glibc.malloc.top_pad": 64 << 20,
}
"""In bytes. By default glibc maps what is above 32 MiB anew each time and trims its heap: in every step buffers then cost page
faults, which zero their pages."""
OURS: Final = frozenset(
    {
        "model",
        "profile",
        "name",
        "structures",
        "grammar_cache",
        "threads",
        "omp_threads",
        "omp_spin_ms",
        "preload",
        "huge_pages",
        "keep_memory",
        "more",
    }
)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One engine. Fields up to `enable_prefix_caching` carry vLLM's own argument names; `more` holds any further ones.

    `threads`: CPU ids the OpenMP threads are bound to ("0,1", "0-7|8-15"), "auto" or "nobind" (vLLM's syntax).
    `omp_threads`: how many there are when they are not bound; `omp_spin_ms`: how long an idle one spins before it
    sleeps (Intel's runtime only). `preload`: shared libraries for LD_PRELOAD, in order.
    `huge_pages`: glibc's malloc asks Linux for huge pages; `keep_memory`: it keeps what was freed for the next step (neither
    has an effect under another malloc). `grammar_cache`: folder for compiled grammars.
    """

    model: Path
    profile: Profile = "cpu"
    name: str = "default"
    max_model_len: int = 8192
    kv_cache_memory_bytes: int | None = None
    enforce_eager: bool = False
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    max_num_seqs: int = 64
    max_num_batched_tokens: int | None = None
    enable_chunked_prefill: bool = True
    block_size: int | None = None
    enable_prefix_caching: bool = True
    structures: tuple[Structure, ...] = ()
    grammar_cache: Path | None = None
    threads: str | None = None
    omp_threads: int | None = None
    omp_spin_ms: int | None = None
    preload: tuple[Path, ...] = ()
    huge_pages: bool = False
    keep_memory: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Path, profile: Profile, arguments: Mapping[str, Any], **ours: Any) -> Self:
        """From a table of vLLM argument names (models.toml) and our own fields by name. `arguments` win over the profile's
        defaults. Raises SettingsInvalid for a field of ours in `arguments`, or an unknown one in `ours`."""
        known = {f.name for f in fields(cls)}
        for key in arguments:
            if key in OURS:
                raise SettingsInvalid(
                    f"engine argument {key!r} is not set here", hint="It is the deployment's, not the model's."
                )
        for key in ours:
            if key not in OURS:
                raise SettingsInvalid(f"{key!r} is not a field of the engine's configuration")
        named = {key: value for key, value in arguments.items() if key in known}
        more = {key: value for key, value in arguments.items() if key not in known}
        defaults = cpu_defaults() if profile == "cpu" else {}
        return cls(model=model, profile=profile, **{**defaults, **named, **ours, "more": more})

    def engine_arguments(self) -> dict[str, Any]:
        """The keyword arguments of vLLM's `AsyncEngineArgs`, without what is left to vLLM (None)."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in OURS}
        chosen = {key: value for key, value in chosen.items() if value is not None}
        return {"model": str(self.model), "served_model_name": self.name, **chosen, **self.more}

    def environment(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """Variables that must be set in the process that starts the engine, so that its children inherit them.
        `inherited` is the environment whose LD_PRELOAD and GLIBC_TUNABLES are kept beside ours; None keeps nothing."""
        env = {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CONFIGURE_LOGGING": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        }
        if self.profile == "cpu":
            env["VLLM_CPU_OMP_THREADS_BIND"] = self.threads or "auto"
            env["CUDA_VISIBLE_DEVICES"] = ""
            if self.omp_threads is not None:
                # Said aloud because Ray gives a replica as many threads as it reserves CPUs for it: one.
                env["OMP_NUM_THREADS"] = str(self.omp_threads)
            if self.omp_spin_ms is not None:
                env["KMP_BLOCKTIME"] = str(self.omp_spin_ms)
            wanted = (HUGE_PAGES if self.huge_pages else {}) | (KEPT_MEMORY if self.keep_memory else {})
            if wanted:
                env["GLIBC_TUNABLES"] = _with_tunables((inherited or {}).get("GLIBC_TUNABLES", ""), wanted)
        if self.enforce_eager:
            # Else a helper of the sampler is compiled by g++ inside the first request that asks for log-probabilities.
            env["TORCHDYNAMO_DISABLE"] = "1"
        kept = (inherited or {}).get("LD_PRELOAD", "").split(":")
        libraries = [str(path) for path in self.preload if path.is_file()]
        libraries += [path for path in kept if path and path not in libraries]
        if libraries:
            env["LD_PRELOAD"] = ":".join(libraries)
        return env


def cpu_defaults() -> dict[str, Any]:
    """The CPU profile's measured choices for this machine (`bench.engine_tune` measures them)."""
    return {
        "kv_cache_memory_bytes": 1 << 30,
        "enforce_eager": True,
        "block_size": 32,
        "threads": thread_binding(len(allowed_cpus())),
        "omp_threads": len(allowed_cpus()),
        "preload": found_libraries(),
        "huge_pages": True,
        "keep_memory": True,
    }


def _with_tunables(inherited: str, wanted: Mapping[str, int]) -> str:
    """glibc's tunables with those wanted, but for what whoever started us has set already."""
    kept = [each for each in inherited.split(":") if each]
    set_already = {each.partition("=")[0] for each in kept}
    return ":".join([*kept, *(f"{name}={value}" for name, value in wanted.items() if name not in set_already)])


def allowed_cpus() -> tuple[int, ...]:
    """Ids of the CPUs this process may run on."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return tuple(sorted(allowed))


def thread_binding(cpu_count: int) -> str:
    """On a small machine the engine shares its cores with the rest of the stack, and a thread bound to a busy core makes every
    other one wait for it: unbound was 1.8 times as fast on two cores. On a large one vLLM's own binding keeps threads beside
    their memory."""
    return "nobind" if cpu_count <= SHARED_CPUS else "auto"


def found_libraries() -> tuple[Path, ...]:
    """tcmalloc and Intel's OpenMP runtime where the environment or the system has them; often neither."""
    folders = (Path(sys.prefix, "lib"), Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib/aarch64-linux-gnu"))
    wanted = ("libtcmalloc_minimal.so.4", "libiomp5.so")
    found = (next((folder / name for folder in folders if (folder / name).is_file()), None) for name in wanted)
    return tuple(path for path in found if path is not None)
