"""The API: replicas of the release's image, changed one by one without a failed request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.contract import (
    APP_ROLE,
    DEFAULT_PORT,
    HEALTH_COMMAND,
    HEALTH_PATIENCE_SECONDS,
    IMAGE_RELEASE_FILE,
    IMAGE_SECRETS_DIR,
    IMAGE_UID,
    SECRETS_DIR_SETTING,
    START_SECONDS,
    api_command,
    api_settings,
)
from infra.docker.cache import Cache
from infra.docker.database import Database
from infra.docker.mounts import Mount
from infra.docker.names import Names
from infra.docker.network import Network
from infra.docker.rollout_times import DELAY_SECONDS, LAME_DUCK_SECONDS, MONITOR_SECONDS, STOP_SECONDS
from infra.docker.secrets import Secrets
from infra.docker.service import Health, Limits, Restart, Service, ServiceArgs, Update
from infra.stack_keys import Api as Keys
from infra.stack_keys import Mail


@dataclass(frozen=True, kw_only=True)
class ApiArgs:
    """What the API depends on.

    Args:
        names: the environment's names.
        kind: whose rules hold; the service's own `environment`.
        keys: the stack's section `api`.
        mail: the stack's section `mail`.
        image: the release's.
        network: both of its networks are the API's.
        database: where its rows are.
        cache: where its rate limits are counted.
        secrets: with the secrets of `api`.
        after: what must be there before: the migrated schema.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    kind: str
    keys: Keys
    mail: Mail
    image: pulumi.Input[str]
    network: Network
    database: Database
    cache: Cache
    secrets: Secrets
    after: list[pulumi.Resource]
    host: str | None = None


class Api(pulumi.ComponentResource):
    """The replicas."""

    service: pulumi.Output[str]
    """Its service, and the DNS name that names all replicas."""
    port: int
    ready: pulumi.Resource
    """Depend on this to come after they serve."""

    def __init__(self, name: str, args: ApiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Api", name, None, opts)
        self.port = DEFAULT_PORT
        served = Service(
            args.names.of("api"),
            ServiceArgs(
                names=args.names,
                part="api",
                image=args.image,
                uid=IMAGE_UID,
                limits=Limits(cpus=args.keys.cpus, memory_mib=args.keys.memory_mib),
                health=health(),
                networks=[args.network.edge, args.network.internal],
                command=_with_settings(environment(args), api_command(self.port, args.keys.workers)),
                files=[*args.secrets.of("api"), *args.database.files],
                mounts=[Mount("/tmp", size_mib=64)],  # noqa: S108 - memory of its own
                replicas=args.keys.replicas,
                stop_seconds=STOP_SECONDS,
                update=Update(order="start-first", monitor_seconds=MONITOR_SECONDS, delay_seconds=DELAY_SECONDS),
                # A crash at the start is given up after a minute; one that waits for its database never is, because
                # it takes longer than window / attempts.
                restart=Restart(delay_seconds=3, attempts=10, window_seconds=120),
                wait_seconds=120 + 90 * args.keys.replicas,
                after=args.after,
            ),
            pulumi.ResourceOptions(parent=self),
            host=args.host,
        )
        self.service, self.ready = served.name, served.ready
        self.register_outputs({"service": self.service})


def environment(args: ApiArgs) -> Mapping[str, pulumi.Input[str]]:
    """The API's environment variables: where the other parts are, and what the stack adds."""
    known: dict[str, pulumi.Input[str]] = dict(
        api_settings(
            environment=args.kind,
            database_url="",
            cache_url="",
            mail_url=args.mail.url,
            mail_from=args.mail.sender,
            release_file=IMAGE_RELEASE_FILE,
        )
    )
    placed: dict[str, pulumi.Input[str]] = {
        "SLIPWAY_DATABASE_URL": args.database.url(APP_ROLE),
        "SLIPWAY_CACHE_URL": args.cache.url,
        "SLIPWAY_DATABASE_POOL_SIZE": str(args.keys.pool_size),
        # Below window / attempts of the restart policy: see there.
        "SLIPWAY_DATABASE_START_WAIT_SECONDS": "15",
        "SLIPWAY_LAME_DUCK_SECONDS": str(LAME_DUCK_SECONDS),
        # The edge's addresses, and nobody else's, are believed when they say whom they ask for.
        "SLIPWAY_TRUSTED_PROXIES": args.network.edge_subnet,
        SECRETS_DIR_SETTING: IMAGE_SECRETS_DIR,
    }
    return known | placed | args.database.settings | args.keys.settings


def _with_settings(settings: Mapping[str, pulumi.Input[str]], command: Sequence[str]) -> list[pulumi.Input[str]]:
    """The command with its environment in front of it, for env(1) to set.

    pulumi-docker writes a service's own environment in a new order each time, and where the order differs, Swarm
    replaces every replica: for one that only their number asked for, too.
    """
    told = [pulumi.Output.concat(name, "=", settings[name]) for name in sorted(settings)]
    return ["env", *told, *command]


def health() -> Health:
    """The image's own check, which is patient itself; each of its failures counts."""
    return Health(
        command=("CMD", *HEALTH_COMMAND),
        interval_seconds=0.5,
        timeout_seconds=HEALTH_PATIENCE_SECONDS,
        retries=1,
        start_seconds=START_SECONDS,
    )
