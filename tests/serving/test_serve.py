"""Before a stack starts."""

import socket

import pytest

from agents.domain.errors import SettingsInvalid
from serving.serve import check_port


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsInvalid, match="cannot be listened on") as raised:
            check_port("127.0.0.1", taken.getsockname()[1])
    assert "--port" in raised.value.hint


def test_a_free_port_is_free_afterwards() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
