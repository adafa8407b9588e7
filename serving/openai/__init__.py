"""The OpenAI-compatible surface: the raw model under its own name, and the whole desk as the model `desk`."""
