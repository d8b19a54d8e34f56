"""`slipway gate local`: two real releases side by side, one of them with a planted delay."""

import json

import pytest

from tests.deploy.conftest import Operator

PLANTED = """

class Planted:
    \"\"\"Lets whoever asks for categories wait.\"\"\"

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope.get("path", "").endswith("/categories"):
            await asyncio.sleep(0.05)
        await self.app(scope, receive, send)
"""
STACK = "    app.middleware_stack = _stack(app.router, settings)\n"


@pytest.mark.timeout(600)
def test_a_planted_delay_is_a_regression_and_the_environment_serves_on(operator: Operator) -> None:
    operator.up()
    before = operator.status()
    operator.replace("service/main.py", STACK, f"{STACK}    app.middleware_stack = Planted(app.middleware_stack)\n")
    operator.change("service/main.py", PLANTED)
    code, output = operator.run("gate", "--limit-seconds", "45", "--rate", "400")
    assert code == 1, output
    assert "✗ list_categories" in output
    [folder] = (operator.layout.home / "gates").iterdir()
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["verdict"] == "regressed"
    assert verdict["reasons"][0].startswith("list_categories ")
    assert verdict["conditions"]["current"] == before["release"] != verdict["conditions"]["candidate"]
    assert verdict["comparisons"][-1]["measure"] == "processor time"
    after = operator.status()
    assert (after["serving"], after["release"], after["parts"]) == (True, before["release"], before["parts"])
    assert len([process for process in operator.processes() if "gate-" in " ".join(process.cmdline())]) == 0
