"""Cuts text, whole or as it comes, into sentences. A dot inside a number or an id ends nothing."""

import re

_END = re.compile(r"[。！？]+[”」』）]*|[.!?]+[\"')\]]*(?=\s)|\n+")


class SentenceSplitter:
    """Feed it pieces; it returns the sentences that are complete. `rest` is what has not ended yet."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, piece: str) -> list[str]:
        self.rest += piece
        done: list[str] = []
        while match := _END.search(self.rest):
            sentence = self.rest[: match.end()].strip()
            self.rest = self.rest[match.end() :]
            if sentence:
                done.append(sentence)
        return done


def split(text: str) -> list[str]:
    """The sentences of a whole text."""
    return SentenceSplitter().feed(f"{text}\n")
