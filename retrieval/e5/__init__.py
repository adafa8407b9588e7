"""multilingual-e5-small with 8-bit arithmetic: `file.py` reads the weights, `tokenizer.py` makes token ids, `graph.py` the
ONNX graph, `runtime.py` runs it, `embedder.py` turns texts into vectors."""
