"""Settings: what is wrong is named, with the fix."""

import socket
from pathlib import Path

import pytest

from agents.domain.errors import SettingsInvalid
from serving.settings import Settings, check_port


def test_a_misspelt_variable_is_refused_with_the_likely_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWORD_MODLE", "x")
    with pytest.raises(SettingsInvalid) as raised:
        Settings.load()
    assert "KEEPWORD_MODLE" in raised.value.message
    assert raised.value.hint == "Did you mean KEEPWORD_MODEL?"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KEEPWORD_PORT", "eighty"),
        ("KEEPWORD_PORT", "0"),
        ("KEEPWORD_PROFILE", "tpu"),
        ("KEEPWORD_TURN_DEADLINE_S", "-1"),
        ("KEEPWORD_LOG_LEVEL", "loud"),
    ],
)
def test_a_malformed_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid) as raised:
        Settings.load()
    assert variable in raised.value.message
    assert repr(value) in raised.value.message


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWORD_PORT", "9001")
    assert Settings.load().port == 9001
    assert Settings.load(port=9002).port == 9002


def test_test_customers_are_offered_on_loopback_only_unless_asked_for() -> None:
    assert Settings.load().offers_dev
    assert not Settings.load(host="0.0.0.0").offers_dev
    assert Settings.load(host="0.0.0.0", dev=True).offers_dev


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite+aiosqlite:///x.db", "sqlite+aiosqlite:///x.db"),
    ],
)
def test_a_plain_database_url_gets_the_async_driver(given: str, url: str) -> None:
    assert Settings.load(database_url=given).store_url == url


def test_the_store_lies_in_the_data_folder_by_default(tmp_path: Path) -> None:
    assert Settings.load(data_dir=tmp_path).store_url == f"sqlite+aiosqlite:///{tmp_path.resolve()}/keepword.db"


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsInvalid, match="cannot be listened on") as raised:
            check_port("127.0.0.1", taken.getsockname()[1])
    assert "--port" in raised.value.hint


def test_a_port_that_does_not_exist_is_not_taken_for_another() -> None:
    with pytest.raises(SettingsInvalid, match="65536 cannot be listened on"):
        check_port("127.0.0.1", 65_536)


def test_a_free_port_is_free_afterwards() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
