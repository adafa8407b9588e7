"""vLLM's own statistics as `EngineStep`s, through the hook vLLM has for it. Their classes are vLLM's inner ones: this module is
where they are known, and `vllm_model` is pinned to the version they belong to."""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from typing import Any

from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats

from serving.observe.engine import EngineStep


class Steps:
    """Where an engine's steps go; nowhere at first."""

    def __init__(self) -> None:
        self.tell: Callable[[EngineStep], None] = lambda _step: None
        self.last = SchedulerStats()


def step_logger(steps: Steps) -> type[PrometheusStatLogger]:
    """The class vLLM makes one of. It stands where vLLM's own Prometheus logger would, which vLLM adds beside any logger that
    is not of its kind, and keeps nothing of it: one set of metrics is enough."""

    class StepLogger(PrometheusStatLogger):
        def __init__(self, vllm_config: VllmConfig, engine_indexes: list[int] | None = None) -> None:
            self.engine_indexes = engine_indexes or [0]

        def record(
            self,
            scheduler_stats: SchedulerStats | None,
            iteration_stats: IterationStats | None,
            mm_cache_stats: MultiModalCacheStats | None = None,
            engine_idx: int = 0,
        ) -> None:
            if scheduler_stats is not None:
                steps.last = scheduler_stats
                prefix = scheduler_stats.prefix_cache_stats
                steps.tell(_step(scheduler_stats, iteration_stats, prefix.queries, prefix.hits))
            elif iteration_stats is not None:  # outputs without a step of the scheduler's: gauges stay as they were
                steps.tell(_step(steps.last, iteration_stats, 0, 0))

        def record_admission_rejection(self, reason: str) -> None:
            return None

        def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
            return None

        def log_engine_initialized(self) -> None:
            return None

    return StepLogger


def core_pid() -> int | None:
    """The process id of the engine's core, a child of this process."""
    return next((child.pid for child in multiprocessing.active_children()), None)


def _step(scheduler: SchedulerStats, iteration: IterationStats | None, queries: int, hits: int) -> EngineStep:
    gauges: dict[str, Any] = {
        "running": scheduler.num_running_reqs,
        "waiting": scheduler.num_waiting_reqs + scheduler.num_skipped_waiting_reqs,
        "kv_cache_usage": scheduler.kv_cache_usage,
        "prefix_queries": queries,
        "prefix_hits": hits,
    }
    if iteration is None:
        return EngineStep(**gauges)
    return EngineStep(
        **gauges,
        preemptions=iteration.num_preempted_reqs,
        prefill_tokens=iteration.prompt_token_stats.computed,
        decode_tokens=iteration.num_generation_tokens,
        first_token_s=iteration.time_to_first_tokens_iter,
        inter_token_s=iteration.inter_token_latencies_iter,
        queued_s=[one.queued_time for one in iteration.finished_requests],
        finished=Counter(str(one.finish_reason) for one in iteration.finished_requests),
        prefilled_s=[one.prefill_time for one in iteration.finished_requests],
    )
