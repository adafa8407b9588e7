"""Server-sent events off an aiohttp response: as little work per byte as the figures allow."""

from collections.abc import AsyncIterator

import aiohttp

MAX_EVENT_BYTES = 4 * 2**20


async def blocks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Each event as it lies on the wire, without the blank line that ends it. Raises ValueError when one never ends."""
    rest = b""
    async for piece in content.iter_any():
        rest += piece
        if len(rest) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        *whole, rest = rest.split(b"\n\n")
        for block in whole:
            yield block


def field(block: bytes, name: bytes) -> bytes:
    """The first value of `name` (`event`, `data`, `id`) in a block; empty when it has none."""
    for line in block.split(b"\n"):
        if line.startswith(name + b":"):
            return line[len(name) + 1 :].strip()
    return b""
