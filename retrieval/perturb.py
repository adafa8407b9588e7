"""Typing errors, made on purpose: variants of a text as hurried people write it, for training and for testing."""

import random

_NEAR = {
    "a": "qs", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
# Characters that share a pinyin syllable, the usual slip of an input method.
_SAME_SOUND = ("的得地", "在再", "做作", "他她它", "已以", "是事", "吗嘛", "那哪", "像象", "订定", "件建", "单丹", "换还环")
_SOUNDS = {char: [other for other in group if other != char] for group in _SAME_SOUND for char in group}
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def perturb(text: str, random_: random.Random, *, rate: float = 0.06) -> str:
    """A variant of `text` with about `rate` slips a character (at least one), and sometimes its case, spaces,
    punctuation or width changed. The same generator state gives the same variant."""
    chars = list(text)
    for _ in range(max(1, round(rate * len(chars)))):
        _slip(chars, random_)
    result = "".join(chars)
    habit = random_.random()
    if habit < 0.12:
        result = result.upper()
    elif habit < 0.3:
        result = result.lower().translate({ord(mark): None for mark in ".,!?'，。！？、"})
    elif habit < 0.36:
        result = result.translate(_FULL_WIDTH)
    return result if result.strip() else text


def _slip(chars: list[str], random_: random.Random) -> None:
    if len(chars) < 3:
        return
    at = random_.randrange(1, len(chars) - 1)
    char = chars[at]
    kind = random_.randrange(5)
    if kind == 0:
        del chars[at]
    elif kind == 1 and char.isalpha() and chars[at + 1].isalpha():
        chars[at], chars[at + 1] = chars[at + 1], char
    elif kind == 2:
        chars.insert(at, char)
    elif kind == 3 and " " in chars:
        del chars[chars.index(" ", at) if " " in chars[at:] else chars.index(" ")]
    elif char in _SOUNDS:
        chars[at] = random_.choice(_SOUNDS[char])
    elif char.lower() in _NEAR:
        chars[at] = random_.choice(_NEAR[char.lower()])
