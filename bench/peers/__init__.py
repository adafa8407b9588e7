"""Peers side by side with Keepword in one run: proxies before the same engine, and three-agent turns over it."""
