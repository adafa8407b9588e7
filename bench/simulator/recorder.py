"""Keepword's scheduler with a diary: what each step of the real engine held and how long it took.

vLLM loads it by name in the engine's process (`scheduler_cls`); `additional_config["steps"]` names the file it writes, one JSON
array a line: start and end (seconds of the machine's monotonic clock), prompt tokens, decoding sequences, context, pairs.
"""

import json
import time
from pathlib import Path
from typing import Any, Final

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import ModelRunnerOutput

from serving.engine.scheduler import GrammarScheduler

STEPS: Final = "steps"


class RecordingScheduler(GrammarScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given: Any = self.vllm_config.additional_config
        self._diary = Path(given[STEPS]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115  # open as long as the engine
        self._began = 0.0

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        self._began = time.monotonic()
        return super().schedule(*args, **kwargs)

    def update_from_output(self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput) -> Any:
        held = self._held(scheduler_output)
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        if held is not None:
            self._diary.write(json.dumps([self._began, time.monotonic(), *held]) + "\n")
        return outputs

    def _held(self, scheduled: SchedulerOutput) -> tuple[int, int, int, float] | None:
        prefill = sequences = context = 0
        pairs = 0.0
        for request_id, new in scheduled.num_scheduled_tokens.items():
            request = self.requests.get(request_id)
            if request is None:
                continue
            before = request.num_computed_tokens - new
            if new == 1 and request.num_output_tokens:
                sequences += 1
                context += before
            else:
                prefill += new
                pairs += new * (before + new / 2)
        return (prefill, sequences, context, pairs) if prefill or sequences else None
