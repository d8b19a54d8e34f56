import socket
from collections.abc import Iterator

import pytest

from infra.embedded import network


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((network.HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_that_was_asked_for_is_refused(taken: int) -> None:
    with pytest.raises(network.PortTakenError, match=f"port {taken} is taken"):
        network.free_port(taken)


def test_a_taken_port_that_was_remembered_is_passed_over(taken: int) -> None:
    assert network.free_port(None, taken) != taken


def test_the_next_free_port_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "DEFAULT_PORT", taken)
    assert taken < network.free_port(None) < taken + network.TRIES


def test_no_free_port_is_told(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda port: False)
    with pytest.raises(network.PortTakenError, match="are all taken"):
        network.free_port(None)
