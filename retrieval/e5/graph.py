"""The encoder as an ONNX graph whose matrix products are of 8-bit integers.

A matrix has one scale for each of its rows, an activation one for each token, found when it comes. So a text's vector does not
depend on what else is in the batch. A few channels that leave this model's layer norms are ten to twenty times as large as the
others, and would leave those few of the 255 steps. So what reads them has its input divided, channel by channel, and its matrix
multiplied: SmoothQuant (Xiao et al., 2023, arXiv:2211.10438).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from retrieval.e5.file import Floats, ModelFile

INPUT: Final = "embedded"
OUTPUT: Final = "pooled"
STEPS: Final = 127  # int8, symmetric
MIGRATION: Final = 0.6  # SmoothQuant's alpha: how much of the difficulty goes into the weights
MICROSOFT: Final = "com.microsoft"
OPSETS: Final = {"": 20, MICROSOFT: 1}
IR_VERSION: Final = 10


def encoder(file: ModelFile, peaks: Mapping[str, Floats] | None) -> bytes:
    """The graph: float32 `embedded` [texts, tokens, width], the sum of the three embeddings, to `pooled` [texts, width], the
    mean over the tokens. All tokens count: texts of one batch have one length.

    `peaks` holds the largest magnitude of each channel [width] for the inputs to smooth. Without it nothing is smoothed, and
    the graph gives those peaks as further outputs.
    """
    graph = _Graph(peaks)
    hidden = graph.layer_norm(INPUT, *_scale_and_shift(file, "emb.ln"), file.shape.epsilon)
    for layer in range(file.shape.layers):
        hidden = _layer(graph, file, f"l{layer}.", hidden)
    graph.add("ReduceMean", [hidden, graph.constant(np.array([1]))], outputs=[OUTPUT], keepdims=0)
    return graph.serialized(file.shape.width)


def saturation_probe() -> bytes:
    """A graph of one product, `sum` [1, 1] = `bytes` [1, 4] times 127: with bytes of 255 it goes past 16 bits."""
    graph = _Graph(None)
    weights = graph.constant(np.full((4, 1), STEPS, np.int8))
    graph.add("MatMulInteger", ["bytes", weights], outputs=["sum"])
    return graph.model([("bytes", onnx.TensorProto.UINT8, [1, 4])], [("sum", onnx.TensorProto.INT32, [1, 1])])


def _layer(graph: "_Graph", file: ModelFile, name: str, hidden: str) -> str:
    shape = file.shape
    qkv = np.concatenate([file.matrix(f"{name}{each}.w", shape.width) for each in "qkv"])
    qkv_bias = np.concatenate([file.floats(f"{name}{each}.b") for each in "qkv"])
    thirds = graph.constant(np.full(3, shape.width))
    joined = graph.linear(hidden, qkv, qkv_bias, smooth=f"{name}qkv")
    split = graph.add("Split", [joined, thirds], outputs=[f"{name}{each}" for each in "qkv"], axis=-1)
    context = graph.add("MultiHeadAttention", split, domain=MICROSOFT, num_heads=shape.heads)[0]
    attended = graph.linear(context, file.matrix(f"{name}ao.w", shape.width), file.floats(f"{name}ao.b"))
    hidden = graph.add_and_norm(hidden, attended, *_scale_and_shift(file, f"{name}aln"), shape.epsilon)

    first, second = file.matrix(f"{name}fi.w", shape.width), file.matrix(f"{name}fo.w", shape.inner)
    inner = graph.linear(hidden, first, None, smooth=f"{name}fi")
    bent = graph.add("BiasGelu", [inner, graph.constant(file.floats(f"{name}fi.b"))], domain=MICROSOFT)[0]
    fed = graph.linear(bent, second, file.floats(f"{name}fo.b"))
    return graph.add_and_norm(hidden, fed, *_scale_and_shift(file, f"{name}oln"), shape.epsilon)


def _scale_and_shift(file: ModelFile, name: str) -> tuple[Floats, Floats]:
    return file.floats(f"{name}.w"), file.floats(f"{name}.b")


class _Graph:
    """Nodes and constants as they are added. Tensors are known by their names."""

    def __init__(self, peaks: Mapping[str, Floats] | None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._peaks = peaks
        self._peak_outputs: list[str] = []

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(
        self, op: str, inputs: Sequence[str], *, outputs: Sequence[str] = (), domain: str = "", **attributes: Any
    ) -> list[str]:
        names = list(outputs) or [f"{op}{len(self._nodes)}"]
        self._nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names

    def layer_norm(self, values: str, scale: Floats, shift: Floats, epsilon: float) -> str:
        inputs = [values, self.constant(scale), self.constant(shift)]
        return self.add("LayerNormalization", inputs, axis=-1, epsilon=epsilon)[0]

    def add_and_norm(self, left: str, right: str, scale: Floats, shift: Floats, epsilon: float) -> str:
        return self.layer_norm(self.add("Add", [left, right])[0], scale, shift, epsilon)

    def linear(self, values: str, matrix: Floats, bias: Floats | None, smooth: str = "") -> str:
        """`values` [texts, tokens, in] times `matrix` [out, in], plus `bias`. `smooth` names its input's peaks."""
        if smooth and self._peaks is not None:
            divisors = _divisors(self._peaks[smooth], matrix)
            values = self.add("Mul", [values, self.constant(1 / divisors)])[0]
            matrix = matrix * divisors
        magnitudes = self.add("Abs", [values])[0]
        if smooth and self._peaks is None:
            by_channel = [magnitudes, self.constant(np.array([0, 1]))]
            self._peak_outputs += self.add("ReduceMax", by_channel, outputs=[smooth], keepdims=0)
        # never 0: norms and products before it have added their biases
        largest = self.add("ReduceMax", [magnitudes, self.constant(np.array([-1]))], keepdims=1)[0]
        level = self.add("Div", [values, largest])[0]
        step, zero = self.constant(np.float32(1 / STEPS)), self.constant(np.uint8(128))
        quantized = self.add("QuantizeLinear", [level, step, zero])[0]
        scales = np.abs(matrix).max(axis=1) / STEPS
        weights = self.constant(np.ascontiguousarray(np.rint(matrix / scales[:, None]).astype(np.int8).T))
        inputs = [quantized, weights, step, self.constant(scales), zero]
        product = self.add("MatMulIntegerToFloat", inputs, domain=MICROSOFT)[0]
        scaled = self.add("Mul", [product, largest])[0]
        return scaled if bias is None else self.add("Add", [scaled, self.constant(bias)])[0]

    def serialized(self, width: int) -> bytes:
        peaks = [(name, onnx.TensorProto.FLOAT, [None]) for name in self._peak_outputs]
        texts = (OUTPUT, onnx.TensorProto.FLOAT, ["texts", width])
        return self.model([(INPUT, onnx.TensorProto.FLOAT, ["texts", "tokens", width])], [texts, *peaks])

    def model(self, inputs: Sequence[tuple[str, int, Any]], outputs: Sequence[tuple[str, int, Any]]) -> bytes:
        graph = helper.make_graph(
            self._nodes,
            "e5",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info(*each) for each in outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        serialized: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
        return serialized


def _divisors(peaks: Floats, matrix: Floats) -> Floats:
    divisors: Floats = np.maximum(peaks, 1e-6) ** MIGRATION / np.maximum(np.abs(matrix).max(axis=0), 1e-6) ** (1 - MIGRATION)
    return divisors
