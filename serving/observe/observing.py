"""What a process is told about watching itself. Plain values: they cross to every replica."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.observe.logs import Format, set_up
from serving.observe.traces import Traces, open_traces

if TYPE_CHECKING:
    from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class Observing:
    """`traces`: where spans go (see `open_traces`); `trace_ratio`: the share of traces begun here that are kept."""

    traces: str = ""
    trace_ratio: float = 1.0
    log_format: Format = "text"
    log_level: str = "INFO"

    @classmethod
    def of(cls, settings: "Settings") -> "Observing":
        return cls(settings.traces, settings.trace_ratio, settings.log_format or "text", settings.log_level)

    def begin(self, service: str, replica: str) -> Traces:
        """Set up logs and traces of this process, which is `replica` of `service`."""
        traces = open_traces(self.traces, self.trace_ratio, service=f"keepword-{service}", replica=replica)
        set_up(self.log_format, self.log_level, traces=traces, service=service, replica=replica)
        return traces
