"""Log lines: one a record, with ids, without anything personal, told apart from everybody else's."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from agents.privacy import masked_log
from serving.observe.logs import ROOT, is_ours, logged_as, set_up

log = masked_log("keepword.test")


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    yield io.StringIO()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_json_line_names_time_level_logger_message_and_the_ids_around_it(out: io.StringIO) -> None:
    set_up("json", "INFO", out=out, service="desk", replica="r1")
    with logged_as(session_id="ses_1"), logged_as(turn_id="turn_1"):
        log.info("a %s", "word")
    log.warning("by itself", extra={"turn_id": "turn_2"})
    log.debug("too quiet")
    first, second = lines(out)
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO",
        "logger": "keepword.test",
        "message": "a word",
        "service": "desk",
        "replica": "r1",
        "session_id": "ses_1",
        "turn_id": "turn_1",
    }
    assert second["turn_id"] == "turn_2"
    assert "session_id" not in second


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_personal_is_written_whoever_logs_it_not_even_in_a_traceback(out: io.StringIO, plain: bool) -> None:
    set_up("json", "INFO", out=out)
    logger = logging.getLogger("keepword.plain") if plain else log
    try:
        raise ValueError("jane.doe@example.org owes DE89370400440532013000")
    except ValueError:
        logger.exception("call +49 170 1234567")
    (line,) = lines(out)
    assert "ValueError: [email] owes [iban]" in line["message"]
    assert "call [number]" in line["message"]
    assert "example.org" not in out.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_our_lines_are_known_among_others_tracebacks_included(out: io.StringIO, form: Any) -> None:
    set_up(form, "INFO", out=out, service="desk")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("it broke")
    written = out.getvalue().splitlines()
    assert all(map(is_ours, written))
    assert "ValueError: no" in out.getvalue()
    others = ["INFO 2026-11-25 15:15:22,769 serve 27534 -- Started.", '{"level":"INFO"}', "  File x", "", "2026-11-25 plain"]
    assert not any(map(is_ours, others))


def test_setting_up_again_does_not_write_twice(out: io.StringIO) -> None:
    set_up("text", "INFO", out=out)
    set_up("text", "INFO", out=out)
    log.info("once")
    assert out.getvalue().count("once") == 1
