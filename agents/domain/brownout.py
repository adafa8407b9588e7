"""How much a turn may ask of the engine. Policy, ledger and verification are whole at every level."""

from enum import IntEnum


class Brownout(IntEnum):
    """Each level gives up what the one before gave up, and more."""

    NORMAL = 0
    SHORTER = 1  # the model drafts less
    ONE_CALL = 2  # one LLM call at most: no reflection, no draft after a plan that took a call
    WORDING = 3  # the pack's wording alone; a plan by retrieval where it is sure
    HANDOFF = 4  # no LLM call: what retrieval is not sure of goes to a person
