import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.docker.caddyfile import PROBLEM, UNTRUSTED_HEADERS, Site, caddyfile


def site(**changes: object) -> Site:
    told = {
        "domain": "tasks.example.com",
        "https_port": 443,
        "automatic": True,
        "acme_email": "ops@example.com",
        "api": "slipway-x-api",
        "api_port": 8000,
    } | changes
    return Site(**told)  # type: ignore[arg-type]


def block(text: str, name: str) -> str:
    """The lines between a block's braces."""
    lines = text.splitlines()
    start = lines.index(f"{name} {{")
    return "\n".join(lines[start + 1 : lines.index("}", start)])


def test_a_real_domain_gets_its_certificate_by_itself() -> None:
    text = caddyfile(site())
    assert "\temail ops@example.com" in text
    assert "tls internal" not in text


def test_without_one_an_authority_of_its_own_vouches() -> None:
    text = caddyfile(site(automatic=False, acme_email=None))
    assert "\ttls internal" in block(text, "https://tasks.example.com")
    assert "email" not in text


@pytest.mark.parametrize(("port", "shown"), [(443, ""), (8443, ":8443")])
def test_http_leads_to_https_on_the_published_port(port: int, shown: str) -> None:
    redirect = block(caddyfile(site(https_port=port)), "http://tasks.example.com")
    assert redirect.strip() == f"redir https://tasks.example.com{shown}{{uri}} 308"


def test_replicas_come_from_dns_and_only_safe_requests_are_sent_twice() -> None:
    proxy = block(caddyfile(site()), "https://tasks.example.com")
    assert "name slipway-x-api.\n\t\t\t\tport 8000\n\t\t\t\trefresh 500ms" in proxy
    assert "lb_retry_match {\n\t\t\t\tmethod GET HEAD\n\t\t\t}" in proxy


def test_no_fault_of_a_client_and_no_answer_makes_it_leave_a_replica_out() -> None:
    text = caddyfile(site())
    for passive in ("fail_duration", "max_fails", "unhealthy_status", "unhealthy_latency"):
        assert passive not in text


def test_its_own_errors_are_problems() -> None:
    errors = caddyfile(site()).partition("handle_errors {")[2]
    assert "header Content-Type application/problem+json" in errors
    assert json.loads(PROBLEM.replace(":{err.status_code}", ":503")).keys() == {
        *("type", "title", "status", "detail", "request_id")
    }


def test_what_clients_say_of_themselves_is_left_out() -> None:
    proxy = block(caddyfile(site()), "https://tasks.example.com")
    for header in UNTRUSTED_HEADERS:
        assert f"header_up -{header}\n" in proxy
    assert "trusted_proxies" not in proxy


def test_sizes_and_times_are_limited_and_metrics_and_the_admin_endpoint_are_not_there() -> None:
    text = caddyfile(site())
    for line in ("admin off", "read_header 10s", "max_size 2MB", "path /metrics /metrics/*", "request>headers delete"):
        assert line in text


@pytest.mark.parametrize("email", ["a@b.c", None])
def test_caddy_takes_it(email: str | None, tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("no caddy on the PATH")
    file = tmp_path / "Caddyfile"
    text = caddyfile(site(automatic=email is not None, acme_email=email))
    file.write_text(text.replace("/var/tmp/caddy", str(tmp_path / "data")))
    command = [caddy, "validate", "--config", str(file), "--adapter", "caddyfile"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
