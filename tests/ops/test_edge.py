import time

import pytest

from ops import edge
from ops.errors import CheckFailedError
from tests.ports import unused_port


def test_a_certificate_that_does_not_come_is_waited_for_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CERTIFICATE_SECONDS", 1.0)
    url = f"https://localhost:{unused_port()}"
    began = time.monotonic()
    with pytest.raises(CheckFailedError, match=rf"^{url} has no certificate that is trusted, or cannot be reached \("):
        edge.wait_for_certificate(url)
    assert time.monotonic() - began > 1
