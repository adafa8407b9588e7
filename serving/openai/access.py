"""Who calls. The one place where API keys meet the OpenAI routes."""

from typing import Annotated

from fastapi import Depends, Request


async def caller_of(request: Request) -> str:
    """The caller's stable name: conversations of different callers never meet."""
    return "anonymous"


Caller = Annotated[str, Depends(caller_of)]
