"""What leaves the service for whoever watches over it, where configured: errors to Sentry, traces to OpenTelemetry.

Either library is loaded only where it is asked for; OpenTelemetry's is an extra (`slipway[telemetry]`), which the image
has not. Nothing of a client's goes along: no bodies, headers, cookies, query strings or local variables, and no texts
of exceptions, which quote all of these. What an exception said stands in the log, under the same request id.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from service import logs
from service.errors import SettingsError
from service.release import Release
from service.settings import Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider
    from sentry_sdk import Client
    from sentry_sdk.types import Event, Hint

_UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})
_FLUSH_SECONDS = 2.0
_SCRUBBED = "left out"


class Telemetry:
    """Both, or either, or none; made before the fork, running in each worker.

    Args:
        settings: where to send what.
        release: what to say that runs here.
        sentry_options: more options of Sentry's client, such as another transport.

    Raises:
        SettingsError: an address is none, or OpenTelemetry is not installed.
    """

    def __init__(self, settings: Settings, release: Release, **sentry_options: Any) -> None:
        self._settings = settings
        self._release = release
        self._sentry_options = sentry_options
        self._traces = self._provider() if settings.traces_url else None
        if settings.sentry_dsn.get_secret_value():
            self._check_sentry()

    @property
    def of_fastapi(self) -> "TelemetryConfig":
        """What FastAPI is to measure: a span for each request, or nothing; our own metrics and logs are enough."""
        return {
            "tracing": self._traces is not None,
            "tracer_provider": self._traces,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in _UNTRACED,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send, for as long as the block lasts; what is still to be sent at its end has two seconds."""
        async with AsyncExitStack() as stack:
            if self._settings.sentry_dsn.get_secret_value():
                sentry = self._sentry()
                stack.push_async_callback(asyncio.to_thread, sentry.close, timeout=_FLUSH_SECONDS)
                stack.enter_context(_reporting_to(sentry))
            if self._traces is not None:
                self._start_exporting(self._traces)
                stack.push_async_callback(asyncio.to_thread, self._traces.shutdown)
            yield

    def _check_sentry(self) -> None:
        from sentry_sdk.utils import BadDsn, Dsn  # noqa: PLC0415 - only who configures it pays for it

        try:
            Dsn(self._settings.sentry_dsn.get_secret_value())
        except BadDsn:
            raise SettingsError("SLIPWAY_SENTRY_DSN is no DSN: copy it from the project's settings") from None

    def _sentry(self) -> "Client":
        from sentry_sdk import Client  # noqa: PLC0415 - as above

        options: dict[str, Any] = {
            "dsn": self._settings.sentry_dsn.get_secret_value(),
            "release": self._release.name,
            "environment": self._settings.environment,
            # No integration: those for ASGI, logging and asyncpg send along whatever they see.
            "default_integrations": False,
            "auto_enabling_integrations": False,
            "include_local_variables": False,
            "max_request_body_size": "never",
            "max_breadcrumbs": 0,
            "server_name": "",
            "before_send": _scrub,
        }
        return Client(**(options | self._sentry_options))

    def _provider(self) -> "TracerProvider":
        try:
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
        except ImportError:
            raise SettingsError(
                "SLIPWAY_TRACES_URL is set, but OpenTelemetry is missing: install slipway[telemetry], or leave it out"
            ) from None
        ratio = TraceIdRatioBased(self._settings.traces_ratio)
        resource = Resource.create(
            {
                "service.name": "slipway-api",
                "service.version": self._release.name,
                "deployment.environment.name": self._settings.environment,
            }
        )
        # A client's wish to be sampled, or not, is not a command.
        sampler = ParentBased(ratio, remote_parent_sampled=ratio, remote_parent_not_sampled=ratio)
        return TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)

    def _start_exporting(self, provider: "TracerProvider") -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import SpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        class WithoutQuery(SpanProcessor):
            """What a client searches for is the client's."""

            def on_start(self, span: Any, parent_context: Any = None) -> None:
                del parent_context
                if "url.query" in span.attributes:
                    span.set_attribute("url.query", _SCRUBBED)

        exporter = OTLPSpanExporter(endpoint=self._settings.traces_url, timeout=_FLUSH_SECONDS)
        provider.add_span_processor(WithoutQuery())
        provider.add_span_processor(BatchSpanProcessor(exporter))  # has a thread, which would not survive a fork


@contextmanager
def _reporting_to(sentry: "Client") -> Iterator[None]:
    from sentry_sdk.utils import event_from_exception  # noqa: PLC0415 - only who configures it pays for it

    def report(error: BaseException, line: Mapping[str, Any]) -> None:
        event, hint = event_from_exception(error, client_options=sentry.options)
        event["tags"] = {name: str(line[name]) for name in ("event", "request_id") if name in line}
        sentry.capture_event(event, hint)

    logs.reporters.append(report)
    try:
        yield
    finally:
        logs.reporters.remove(report)


def _scrub(event: "Event", hint: "Hint") -> "Event":
    """Leave out what exceptions say: it may be anything that a client sent."""
    del hint
    for exception in event.get("exception", {}).get("values", ()):
        exception["value"] = _SCRUBBED
        exception.pop("mechanism", None)
    return event
