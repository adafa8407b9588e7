"""KV blocks as vLLM keeps them: a fixed pool, reference counts, and full blocks findable by hash until they are reused."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """`count` blocks. A released block keeps its hash, and is reused least recently released first, after the fresh ones."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._refs: list[int] = []  # of the blocks used so far
        self._hash_of: list[int | None] = []
        self._by_hash: dict[int, int] = {}
        self._released: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        return self.count - len(self._refs) + len(self._released)

    @property
    def usage(self) -> float:
        """Share of blocks that a request holds, 0 to 1."""
        return 1.0 - self.free / self.count

    def cached(self, hashes: Sequence[int], limit: int) -> list[int]:
        """The blocks of the longest known prefix of `hashes`, at most `limit` of them."""
        found: list[int] = []
        for key in hashes[:limit]:
            block = self._by_hash.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def unheld(self, blocks: Iterable[int]) -> int:
        """How many of `blocks` nobody holds: taking them up makes the pool smaller."""
        return sum(1 for block in blocks if not self._refs[block])

    def hold(self, blocks: Iterable[int]) -> None:
        """One more request holds each of `blocks`."""
        for block in blocks:
            if not self._refs[block]:
                del self._released[block]
            self._refs[block] += 1

    def take(self, count: int) -> list[int]:
        """`count` blocks with nothing in them; the caller has checked that there are as many. What they held is forgotten."""
        fresh = range(len(self._refs), min(self.count, len(self._refs) + count))
        self._refs.extend(1 for _ in fresh)
        self._hash_of.extend(None for _ in fresh)
        taken = list(fresh)
        for _ in range(count - len(fresh)):
            block, _none = self._released.popitem(last=False)
            key = self._hash_of[block]
            if key is not None:
                self._hash_of[block] = None
                if self._by_hash.get(key) == block:
                    del self._by_hash[key]
            self._refs[block] = 1
            taken.append(block)
        return taken

    def publish(self, block: int, key: int) -> None:
        """`block` holds the tokens whose chained hash is `key`: other requests may find it."""
        if self._hash_of[block] is None:
            self._hash_of[block] = key
            self._by_hash.setdefault(key, block)

    def release(self, blocks: Sequence[int]) -> None:
        """Give `blocks` back, the last first, so that the end of a prompt is forgotten before its beginning."""
        for block in reversed(blocks):
            self._refs[block] -= 1
            if not self._refs[block]:
                self._released[block] = None
