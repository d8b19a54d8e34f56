"""What leaves for Sentry and OpenTelemetry: enough to find a fault, and nothing of a client's."""

import builtins
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sentry_sdk.transport import Transport

from service import main
from service.errors import SettingsError
from service.main import build_app
from service.release import Release
from service.telemetry import Telemetry
from tests.service.conftest import Host, User, running

DSN = "https://public@sentry.test/1"
SECRETS = "planted-secret ann@example.com eyJhbGciOiJIUzI1NiJ9"


class Collected(Transport):
    """Where Sentry's client sends to in these tests."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        super().__init__(options)
        self.envelopes: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.envelopes.append(envelope)

    def text(self) -> str:
        return "".join(envelope.serialize().decode() for envelope in self.envelopes)

    def events(self) -> list[Any]:
        return [item.payload.json for envelope in self.envelopes for item in envelope.items]


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    transport = Collected()
    with_transport = lambda settings, release: Telemetry(settings, release, transport=transport)  # noqa: E731
    monkeypatch.setattr(main, "Telemetry", with_transport)
    return transport


async def test_sentry_learns_of_the_unforeseen_and_of_nothing_that_a_client_sent(
    host: Host, shared_database: str, release: Release, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = build_app(host.settings(shared_database, sentry_dsn=DSN), release)
    async with running(app) as http:
        user = await User.register(http)

        async def fail(*arguments: Any, **values: Any) -> None:
            try:
                int(f"{SECRETS} {arguments} {values}")
            except ValueError as error:
                raise LookupError(SECRETS) from error

        monkeypatch.setattr(app.state.parts.database.pool, "take", lambda: None)
        monkeypatch.setattr(app.state.parts.database.pool, "acquire", fail)
        answer = await user.call(
            "GET",
            "/tasks?q=planted-secret",
            headers={"X-Request-ID": "mine", "Cookie": "session=planted-cookie", "X-Email": "ann@example.com"},
        )
        assert answer.status_code == 500
        monkeypatch.undo()
        await user.call("GET", "/tasks/not-a-uuid", expect=422)  # foreseen
    (event,) = collected.events()
    assert event["release"] == release.name
    assert event["environment"] == "local"
    assert event["tags"] == {"event": "unexpected error", "request_id": "mine"}
    values = event["exception"]["values"]
    assert [value["type"] for value in values] == ["ValueError", "LookupError"]
    assert any(frame["function"] == "fail" for frame in values[-1]["stacktrace"]["frames"])
    for secret in (*SECRETS.split(), "planted-cookie", user.token, user.email):
        assert secret not in json.dumps(event)


async def test_nothing_is_sent_where_nothing_is_configured(
    host: Host, shared_database: str, release: Release, collected: Collected
) -> None:
    app = build_app(host.settings(shared_database), release)
    async with running(app) as http:
        await http.get("/health/live")
    assert collected.envelopes == []
    assert not app._native_telemetry.enabled()


class Collector:
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.thread.start()
    yield collector
    collector.server.shutdown()
    collector.thread.join()
    collector.server.server_close()


async def test_traces_name_the_route_and_leave_out_the_query(
    host: Host, shared_database: str, release: Release, collector: Collector
) -> None:
    settings = host.settings(shared_database, traces_url=collector.url, traces_ratio=1)
    async with running(build_app(settings, release)) as http:
        user = await User.register(http)
        await user.call(
            "GET",
            "/tasks?q=planted-secret",
            headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
        )
        await http.get("/health/ready")
        await http.get("/metrics")
    spans = {span.name: span for span in collector.spans()}
    assert "GET /api/v1/tasks" in spans
    assert not any("health" in name or "metrics" in name for name in spans)
    span = spans["GET /api/v1/tasks"]
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert {one.key: one.value.string_value for one in span.attributes}["url.query"] == "left out"
    sent = str(collector.requests)
    for secret in ("planted-secret", user.token, user.email, "correct horse"):
        assert secret not in sent
    (resource, *_) = collector.requests[0].resource_spans
    described = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert described["service.name"] == "slipway-api"
    assert described["service.version"] == release.name


async def test_a_client_cannot_ask_to_be_traced(
    host: Host, shared_database: str, release: Release, collector: Collector
) -> None:
    settings = host.settings(shared_database, traces_url=collector.url, traces_ratio=0)
    async with running(build_app(settings, release)) as http:
        wish = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert (await http.get("/version", headers=wish)).status_code == 200
    assert collector.spans() == []


async def test_a_collector_that_is_away_disturbs_nobody(host: Host, shared_database: str, release: Release) -> None:
    settings = host.settings(shared_database, traces_url="http://127.0.0.1:9/v1/traces", traces_ratio=1)
    async with running(build_app(settings, release)) as http:
        assert (await http.get("/version")).status_code == 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sentry_dsn": "https://sentry.test/1"}, "SLIPWAY_SENTRY_DSN is no DSN"),
        ({"sentry_dsn": "planted-secret"}, "SLIPWAY_SENTRY_DSN is no DSN"),
    ],
)
def test_a_wrong_address_is_named(host: Host, release: Release, change: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        Telemetry(host.settings("any", **change), release)
    assert "planted-secret" not in str(caught.value)


def test_a_missing_library_is_named(host: Host, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("opentelemetry.sdk"):
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"install slipway\[telemetry\]"):
        Telemetry(host.settings("any", traces_url="http://a"), release)
