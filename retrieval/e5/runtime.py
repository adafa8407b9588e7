"""ONNX Runtime sessions of one thread: a run computes in the thread that calls it, and releases Python's lock meanwhile."""

from functools import cache
from typing import Final

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from retrieval.e5.file import Floats
from retrieval.e5.graph import INPUT, OUTPUT, STEPS, saturation_probe

EXACT_KERNELS: Final = "session.x64quantprecision"


class Encoder:
    """An encoder's graph, ready to run. Safe to call from many threads.

    An x86 CPU without VNNI adds products of 8-bit numbers in 16 bits, where large sums saturate. `careful` takes kernels in
    which they do not; by default it is tried whether this CPU needs them, as they are slower. Raises onnxruntime's own errors
    for a graph it cannot run.
    """

    def __init__(self, graph: bytes, careful: bool | None = None) -> None:
        options = _options()
        if _sums_saturate() if careful is None else careful:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.add_session_config_entry(EXACT_KERNELS, "1")  # heeded from that level on, whatever the CPU
        self._session = _open(graph, options)

    def pool(self, embedded: Floats) -> Floats:
        """Mean vectors [texts, width] of embedded tokens [texts, tokens, width]."""
        pooled: Floats = self._session.run([OUTPUT], {INPUT: embedded})[0]
        return pooled

    def peaks(self, embedded: Floats) -> dict[str, Floats]:
        """The outputs but `pooled`: of a graph made without peaks, these."""
        names = [output.name for output in self._session.get_outputs() if output.name != OUTPUT]
        return dict(zip(names, self._session.run(names, {INPUT: embedded}), strict=True))


@cache
def _sums_saturate() -> bool:
    session = _open(saturation_probe(), _options())
    [sums] = session.run(None, {"bytes": np.full((1, 4), 255, np.uint8)})
    return int(sums[0, 0]) != 4 * 255 * STEPS


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options


def _open(graph: bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    # One node for a sum and its norm is slower than the two: that kernel is not vectorized.
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )
