"""Uptime checks from outside the service: Prometheus, the blackbox exporter, Alertmanager, and Grafana where wished.

None of them publishes a port. `slipway status` asks Prometheus within its container, as
`docker exec <container> wget -q -O - http://127.0.0.1:9090/api/v1/alerts` does by hand. Alertmanager and Grafana are
on the edge network, too, so that each has an address on its node's bridge docker_gwbridge: a tunnel to it
(`ssh -L 3000:<address>:3000 node`) brings their pages to a browser, for whoever may log in to that node.

Prometheus itself is on the internal network alone. Seen from the edge network, the API takes it for a proxy, and gives
no figures to whoever came through one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulumi

from infra.contract import DATABASE_NAME, IMAGE_UID, MONITOR_ROLE
from infra.docker.api import Api
from infra.docker.backups import Backups
from infra.docker.caddyfile import HTTPS_TARGET
from infra.docker.database import CA_FILE, Database
from infra.docker.mounts import File, Mount
from infra.docker.names import Names
from infra.docker.network import Network
from infra.docker.secrets import Secrets, config, secret
from infra.docker.service import Health, Limits, Service, ServiceArgs
from infra.docker.uptime_configs import (
    ALERTMANAGER_PORT,
    BLACKBOX_PORT,
    GRAFANA_PORT,
    POSTGRES_EXPORTER_PORT,
    PROMETHEUS_PORT,
    RULES_FILE,
    Probed,
    Targets,
    alertmanager,
    blackbox,
    grafana_dashboards,
    grafana_datasources,
    mailbox_of,
    prometheus,
)
from infra.docker.uptime_dashboard import dashboard
from infra.docker.uptime_rules import ObjectiveError, Objectives, Watched, rules
from infra.docker.volume import volume
from infra.stack_keys import Backups as BackupKeys
from infra.stack_keys import Edge, Images, Mail
from infra.stack_keys import Uptime as Keys

NOBODY: Final = 65534
"""As the public images of Prometheus and its exporters run, and own their folders."""
GRAFANA_UID: Final = 472
PASSWORD_PATH: Final = "/run/secrets/monitor_password"  # noqa: S105 - a path
FIGURES_FOLDER: Final = "/var/tmp"  # noqa: S108 - a volume; see mounts.py for why there
DASHBOARDS_FOLDER: Final = "/etc/grafana/dashboards"

PROMETHEUS_MEMORY_MIB: Final = 512
SMALL: Final = Limits(cpus=0.2, memory_mib=96)

OWN_CERTIFICATE_WARN_SECONDS: Final = 2 * 3600
OWN_CERTIFICATE_PAGE_SECONDS: Final = 1800
"""Of certificates by the edge's own authority, which are good for twelve hours and renewed four before their end."""


@dataclass(frozen=True, kw_only=True)
class UptimeArgs:
    """What the uptime checks depend on.

    Args:
        names: the environment's names.
        keys: the stack's section `uptime`.
        images: of all parts.
        public_url: what clients ask.
        edge: the stack's section `edge`.
        mail: the stack's section `mail`, through which alerts are mailed.
        network: both networks.
        api: whose replicas are scraped.
        api_replicas: how many there should be.
        database: whose figures are read.
        secrets: with `monitor_password`.
        backups: whose age is watched; None where there are none.
        backup_keys: the stack's section `backups`.
        webhook: where alerts are posted to; secret.
        mail_password: of the user that mails alerts; secret.
        after: what must be there before: the database's roles.
        serving: what must serve before it is probed, or the first measurement of each environment is an outage.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    keys: Keys
    images: Images
    public_url: str
    edge: Edge
    mail: Mail
    network: Network
    api: Api
    api_replicas: int
    database: Database
    secrets: Secrets
    backups: Backups | None
    backup_keys: BackupKeys
    webhook: pulumi.Output[str] | None = None
    mail_password: pulumi.Output[str] | None = None
    after: Sequence[pulumi.Resource] = ()
    serving: Sequence[pulumi.Resource] = ()
    host: str | None = None


class Uptime(pulumi.ComponentResource):
    """All that watches an environment."""

    services: list[pulumi.Output[str]]

    def __init__(self, name: str, args: UptimeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Uptime", name, None, opts)
        self._args = args
        made = [
            self._blackbox(),
            self._alertmanager(),
            self._postgres_exporter(),
            self._prometheus(),
            *([self._grafana()] if args.keys.grafana else []),
        ]
        self.services = [service.name for service in made]
        self.register_outputs({"services": self.services})

    def _service(self, part: ServiceArgs) -> Service:
        return Service(part.names.of(part.part), part, pulumi.ResourceOptions(parent=self), host=self._args.host)

    def _config(self, part: str, name: str, text: pulumi.Input[str]) -> File:
        return config(self._args.names, part, name, text, parent=self)

    def _volume(self, part: str) -> pulumi.Output[str]:
        return volume(self._args.names, part, part, parent=self).name

    def _blackbox(self) -> Service:
        args = self._args
        path = "/etc/blackbox_exporter/config.yml"
        return self._service(
            ServiceArgs(
                names=args.names,
                part="blackbox",
                image=args.images.blackbox,
                uid=NOBODY,
                limits=SMALL,
                health=_asks(BLACKBOX_PORT, "/-/healthy"),
                networks=[args.network.edge, args.network.internal],
                args=[f"--config.file={path}"],
                files=[self._config("blackbox", "config", blackbox(probed(args))).at(path, uid=NOBODY)],
            )
        )

    def _alertmanager(self) -> Service:
        args = self._args
        path = "/run/secrets/alertmanager.yml"
        text = secret(args.names, "alertmanager_configuration", alertmanager_text(args), parent=self)
        return self._service(
            ServiceArgs(
                names=args.names,
                part="alertmanager",
                image=args.images.alertmanager,
                uid=NOBODY,
                limits=SMALL,
                health=_asks(ALERTMANAGER_PORT, "/-/healthy"),
                networks=[args.network.edge, args.network.internal],
                args=[f"--config.file={path}", "--storage.path=/alertmanager", "--cluster.listen-address="],
                files=[text.at(path, uid=NOBODY)],
                mounts=[Mount("/alertmanager", volume=self._volume("alertmanager"))],  # silences, and who was told
                constraints=args.database.constraints,
            )
        )

    def _postgres_exporter(self) -> Service:
        args, database = self._args, self._args.database
        outside = database.volume is None
        return self._service(
            ServiceArgs(
                names=args.names,
                part="postgres-exporter",
                image=args.images.postgres_exporter,
                uid=IMAGE_UID,  # who may read the files of the database's clients
                limits=SMALL,
                health=_asks(POSTGRES_EXPORTER_PORT, "/"),
                networks=[args.network.internal, *([args.network.edge] if outside else [])],
                env={
                    "DATA_SOURCE_URI": pulumi.Output.format(
                        # In time to say within one scrape that PostgreSQL is away.
                        "{0}:{1}/{2}?connect_timeout=3&{3}",
                        database.address,
                        database.port,
                        DATABASE_NAME,
                        _tls(database),
                    ),
                    "DATA_SOURCE_USER": MONITOR_ROLE,
                    "DATA_SOURCE_PASS_FILE": PASSWORD_PATH,
                },
                files=[args.secrets["monitor_password"].at(PASSWORD_PATH, uid=IMAGE_UID), *database.authorities],
                after=args.after,
            )
        )

    def _prometheus(self) -> Service:
        args = self._args
        files = {
            "/etc/prometheus/prometheus.yml": self._config("prometheus", "config", prometheus(targets(args))),
            RULES_FILE: self._config("prometheus", "rules", rules(watched(args))),
        }
        figures = [Mount(FIGURES_FOLDER, volume=args.backups.figures)] if args.backups else []
        return self._service(
            ServiceArgs(
                names=args.names,
                part="prometheus",
                image=args.images.prometheus,
                uid=NOBODY,
                limits=Limits(cpus=0.5, memory_mib=PROMETHEUS_MEMORY_MIB),
                health=_asks(PROMETHEUS_PORT, "/-/ready", interval_seconds=4),
                networks=[args.network.internal],
                args=[
                    "--config.file=/etc/prometheus/prometheus.yml",
                    "--storage.tsdb.path=/prometheus",
                    f"--storage.tsdb.retention.time={args.keys.retention_days}d",
                    *([f"--web.user-assets={FIGURES_FOLDER}"] if args.backups else []),
                ],
                env={"GOMEMLIMIT": f"{PROMETHEUS_MEMORY_MIB * 4 // 5}MiB"},
                files=[file.at(path, uid=NOBODY) for path, file in files.items()],
                mounts=[Mount("/prometheus", volume=self._volume("prometheus")), *figures],
                constraints=args.database.constraints,
                stop_seconds=30,
                after=args.serving,
            )
        )

    def _grafana(self) -> Service:
        """Without a password, since nobody reaches it but through a node; whoever does may look and change nothing."""
        args = self._args
        environment = args.names.environment
        provisioning = "/etc/grafana/provisioning"
        files = {
            f"{provisioning}/datasources/slipway.yml": self._config(
                "grafana", "datasources", grafana_datasources(args.names.of("prometheus"))
            ),
            f"{provisioning}/dashboards/slipway.yml": self._config(
                "grafana", "providers", grafana_dashboards(DASHBOARDS_FOLDER)
            ),
            f"{DASHBOARDS_FOLDER}/slipway.json": self._config("grafana", "dashboard", dashboard(environment)),
        }
        return self._service(
            ServiceArgs(
                names=args.names,
                part="grafana",
                image=args.images.grafana,
                uid=GRAFANA_UID,
                limits=Limits(cpus=0.5, memory_mib=384),
                health=_asks(GRAFANA_PORT, "/api/health", start_seconds=60),
                networks=[args.network.edge, args.network.internal],
                env={
                    "GF_AUTH_ANONYMOUS_ENABLED": "true",
                    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
                    "GF_AUTH_BASIC_ENABLED": "false",
                    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
                    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
                    "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{DASHBOARDS_FOLDER}/slipway.json",
                    "GF_ANALYTICS_REPORTING_ENABLED": "false",
                    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
                    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
                    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
                    "GF_LOG_MODE": "console",
                },
                files=[file.at(path, uid=GRAFANA_UID) for path, file in files.items()],
                mounts=[Mount("/var/lib/grafana", volume=self._volume("grafana")), Mount("/tmp", size_mib=64)],  # noqa: S108
                constraints=args.database.constraints,
                wait_seconds=180,
            )
        )


def probed(args: UptimeArgs) -> Probed:
    """What is probed: the public URL as clients find it; or, where no authority and no DNS need know it, the edge.

    With `edge.tls: internal` and no `uptime.publicUrl` the name may be one of this machine's only (localhost): then
    the exporter connects to the edge's container and asks it for that name.
    """
    own = args.edge.tls == "internal" and args.keys.public_url is None
    address = f"{args.names.of('edge')}:{HTTPS_TARGET}" if own else None
    return Probed(public_url=args.public_url, verified=not own, address=address)


def targets(args: UptimeArgs) -> Targets:
    """Where Prometheus finds what it watches."""
    names = args.names
    return Targets(
        environment=names.environment,
        probed=probed(args),
        api=names.of("api"),
        api_port=args.api.port,
        blackbox=names.of("blackbox"),
        alertmanager=names.of("alertmanager"),
        postgres_exporter=names.of("postgres-exporter"),
        backup_figures=args.backups is not None,
    )


def watched(args: UptimeArgs) -> Watched:
    """What the alerts depend on.

    Raises:
        pulumi.RunError: an objective that cannot be watched; one line.
    """
    keys = args.keys
    try:
        objectives = Objectives(keys.availability_percent, keys.latency_milliseconds, keys.latency_percent)
    except ObjectiveError as error:
        raise pulumi.RunError(f"slipway:uptime: {error}") from None
    seconds = (
        {}
        if probed(args).verified
        else {
            "certificate_warn_seconds": OWN_CERTIFICATE_WARN_SECONDS,
            "certificate_page_seconds": OWN_CERTIFICATE_PAGE_SECONDS,
        }
    )
    return Watched(
        objectives,
        args.api_replicas,
        backup_hours=args.backup_keys.every_hours if args.backups else None,
        **seconds,
    )


def alertmanager_text(args: UptimeArgs) -> pulumi.Output[str]:
    """Alertmanager's configuration, secret as what it holds."""

    def compose(values: Sequence[str | None]) -> str:
        webhook, password = values
        to = args.keys.alert_mail_to
        return alertmanager(
            environment=args.names.environment,
            webhook_url=webhook,
            mailbox=mailbox_of(args.mail.url, to=to, sender=args.mail.sender, password=password or "") if to else None,
        )

    return pulumi.Output.secret(pulumi.Output.all(args.webhook, args.mail_password).apply(compose))


def _tls(database: Database) -> str:
    return f"sslmode=verify-full&sslrootcert={CA_FILE}" if database.tls else "sslmode=disable"


def _asks(port: int, path: str, *, interval_seconds: float = 10, start_seconds: float = 20) -> Health:
    """A check with BusyBox' wget, which all of these images have."""
    command = ("CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}{path}")
    return Health(
        command=command,
        interval_seconds=interval_seconds,
        timeout_seconds=5,
        retries=3,
        start_seconds=start_seconds,
    )
