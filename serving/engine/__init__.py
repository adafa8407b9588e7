"""The engine: vLLM behind the `Model` port, its grammars, and the Ray Serve deployment that hosts it."""
