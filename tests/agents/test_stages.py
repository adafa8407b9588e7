"""Stages of a turn: each second is counted once, and a tracer is told what holds what."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import pytest

from agents.stages import stage, staged, staging
from tests.fakes import SetClock


class Written:
    """A Tracer that writes spans down as paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._open: list[str] = []

    @contextmanager
    def span(self, name: str, /, **facts: str | int | float) -> Iterator[None]:
        self._open.append(name)
        self.paths.append("/".join(self._open))
        try:
            yield
        finally:
            self._open.pop()


def test_a_second_inside_an_inner_stage_is_not_the_outer_ones() -> None:
    clock = SetClock()
    with staging(clock) as stages:
        with stage("plan"):
            clock.move(1)
            with stage("retrieve"):
                clock.move(2)
                with stage("deeper"):
                    clock.move(4)
            clock.move(8)
        with stage("plan"):
            clock.move(16)
    assert stages.seconds == {"deeper": 4, "retrieve": 2, "plan": 25}


def test_a_stage_that_fails_has_its_time_and_closes_its_span() -> None:
    clock, written = SetClock(), Written()

    def fail() -> None:
        with stage("policy"):
            clock.move(3)
            raise ValueError("broke")

    with staging(clock, written) as stages:
        with pytest.raises(ValueError, match="broke"):
            fail()
        with stage("draft"):
            pass
    assert stages.seconds["policy"] == 3
    assert written.paths == ["policy", "draft"]


def test_a_tracer_sees_stages_inside_one_another() -> None:
    written = Written()
    with staging(SetClock(), written), stage("plan"), stage("retrieve"):
        pass
    assert written.paths == ["plan", "plan/retrieve"]


def test_without_a_turn_a_stage_is_nothing() -> None:
    with stage("plan"):
        pass


async def test_of_a_generator_only_the_waits_are_the_stage() -> None:
    clock = SetClock()

    async def sentences() -> AsyncGenerator[str, None]:
        for word in ("one", "two"):
            clock.move(1)
            yield word
        clock.move(1)

    with staging(clock) as stages:
        async for _ in staged("draft", sentences()):
            clock.move(10)
    assert stages.seconds == {"draft": 3}


async def test_closing_a_staged_generator_closes_the_one_inside() -> None:
    closed = []

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    items = staged("draft", endless())
    assert await anext(items) == 1
    await items.aclose()
    assert closed
