"""A model of vLLM's scheduler with a measured or derived latency: the stack at scale without the hardware."""
