"""Planted mistakes are told at their place, in small."""

from bench.packs import run
from bench.planted import PLANTS


def test_every_mistake_in_the_small_pack_is_told_at_its_place() -> None:
    result = run(quick=True)
    assert result.ok, result.as_dict()


def test_there_are_more_than_sixty_of_many_kinds() -> None:
    assert len(PLANTS) == 68
    assert len({plant.kind for plant in PLANTS}) >= 8
