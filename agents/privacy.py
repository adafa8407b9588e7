"""Personal data that no model and no log needs to see: addresses, accounts and long numbers, masked before they leave.

Only what has a form is found: a name or a street in plain words is not. Short ids (an order, a seller) stay.
"""

import logging
import re
import traceback
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from agents.ports import Message, Model, ModelChunk, ModelRequest, ModelResult

_PERSONAL = re.compile(
    r"(?P<email>[a-z0-9._%+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<iban>(?<![a-z0-9])(?=(?: ?[a-z]*\d){10})[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?(?![a-z0-9]))"
    r"|(?P<number>(?<![a-z0-9_-])\+?\(?\d(?:[ ()./-]{0,2}\d){8,18}x?(?![a-z0-9_]))",  # phones, cards, identity numbers
    re.IGNORECASE,
)
_DIGIT, FEWEST_DIGITS = re.compile(r"\d"), 9  # of what is masked and has no @
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def masked(text: str) -> str:
    """`text` with every e-mail address, IBAN and number of nine digits or more replaced by its kind in brackets."""
    if "@" not in text and len(_DIGIT.findall(text)) < FEWEST_DIGITS:
        return text
    return _PERSONAL.sub(_mask, text)


def _mask(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return match.group() if kind == "number" and _DAY.search(match.group()) else f"[{kind}]"


class MaskedModel:
    """A Model that is told nothing personal: what customer and desk said is masked in every request."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def generate(self, request: ModelRequest) -> ModelResult:
        return await self._model.generate(_without(request))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        async with aclosing(self._model.stream(_without(request))) as chunks:
            async for chunk in chunks:
                yield chunk


def _without(request: ModelRequest) -> ModelRequest:
    messages = tuple(m if m.role == "system" else Message(m.role, masked(m.content)) for m in request.messages)
    return replace(request, messages=messages)


class MaskedLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines, tracebacks included, hold nothing personal."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        said = str(msg) % args if args else str(msg)
        if kwargs.pop("exc_info", None):
            said = f"{said}\n{traceback.format_exc()}"
        self.logger.log(level, "%s", masked(said), **kwargs)


def masked_log(name: str) -> MaskedLog:
    return MaskedLog(logging.getLogger(name))
