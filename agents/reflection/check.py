"""Reflection on one's own plan before anything is read or offered: sure enough to go on, or better to ask."""

from agents.domain.session import SessionState
from agents.domain.words import Plan

MIN_CONFIDENCE = 0.35


def should_clarify(plan: Plan, state: SessionState) -> bool:
    """True when nothing says what is wanted: low confidence and no scenario under way that the message continues."""
    return plan.confidence < MIN_CONFIDENCE and plan.scenario != state.scenario
