"""What a conversation's digest and its log say."""

from datetime import UTC, datetime

from agents.domain.events import Event, ReplySentence, StoredEvent, TurnDone, TurnFailed, TurnStarted
from serving.openai.conversation import digest, spoken


def stored(*events: Event) -> list[StoredEvent]:
    return [StoredEvent(seq, datetime.now(UTC), event, "") for seq, event in enumerate(events, 1)]


def test_a_failed_turn_reads_as_its_sentences_and_then_its_message() -> None:
    said = ReplySentence("t", 0, "Sorry.", "model")
    events = stored(TurnStarted("t", " hi ", "en"), said, TurnFailed("t", "internal", "A person will call."))
    assert spoken(events) == ("hi", "Sorry. A person will call.")


def test_chinese_sentences_stand_without_a_space() -> None:
    said = [ReplySentence("t", number, text, "pack") for number, text in enumerate(("您好。", "请稍等。"))]
    events = stored(TurnStarted("t", "在吗", "zh"), *said, TurnDone("t", "您好。请稍等。", {}, {}, ()))
    assert spoken(events) == ("在吗", "您好。请稍等。")


def test_a_digest_changes_with_every_part_of_it() -> None:
    whose = {"customer": "C-001", "conversation": ""}
    base = digest("secret", "shop", whose, ["hi"])
    others = [
        digest("other", "shop", whose, ["hi"]),
        digest("secret", "bank", whose, ["hi"]),
        digest("secret", "shop", {**whose, "customer": "C-002"}, ["hi"]),
        digest("secret", "shop", whose, ["hi", "there"]),
    ]
    assert len({base, *others}) == 5
    assert len(base) <= 200
