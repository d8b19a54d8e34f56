"""Pulumi's entry: reads the stack and wires the parts of the Docker target together."""

import json
import os
from pathlib import Path

import pulumi
import pulumi_docker as docker

from infra.docker.api import Api, ApiArgs
from infra.docker.backups import Backups, BackupsArgs
from infra.docker.cache import Cache, CacheArgs
from infra.docker.database import Database, DatabaseArgs
from infra.docker.edge import Edge, EdgeArgs
from infra.docker.image import Image, ImageArgs
from infra.docker.migration import Migration, MigrationArgs
from infra.docker.names import Names
from infra.docker.network import Network, NetworkArgs
from infra.docker.secrets import Secrets, SecretsArgs
from infra.docker.uptime import Uptime, UptimeArgs
from infra.managed_database import managed_database
from infra.pulumi_config import first_secret, read_stack, secret, secrets
from infra.stack import Stack, StackError

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Describe the environment of the running stack.

    Raises:
        pulumi.RunError: its configuration cannot be used; one line.
    """
    try:
        stack = read_stack()
    except StackError as error:
        raise pulumi.RunError(str(error)) from None
    environment(stack)


def registry_auth(image: str | None) -> list[docker.ProviderRegistryAuthArgs] | None:
    """How nodes of the swarm may pull the image: as `docker login` left it on this machine.

    The provider reads no configuration of Docker's by itself; where it is told to and finds nothing, it fails. The
    file's name is all that gets into the state.
    """
    registry = (image or "").partition("/")[0]
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        known = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    if registry not in {**known.get("auths", {}), **known.get("credHelpers", {})}:
        return None
    return [docker.ProviderRegistryAuthArgs(address=registry, config_file=str(folder / "config.json"))]


def environment(stack: Stack) -> None:
    """All parts of an environment, in the order in which they need one another."""
    names, host = Names(stack.environment), stack.docker.host
    engine = docker.Provider("engine", host=host, registry_auth=registry_auth(stack.image))
    on_it = pulumi.ResourceOptions(providers=[engine])
    values = secrets(stack)
    url = secret("databaseUrl") if stack.database.mode == "external" else None
    if url is not None:
        values["admin_password"] = url.apply(lambda text: managed_database(text).password)

    image = Image("image", ImageArgs(names=names, reference=stack.image, project=PROJECT, host=host), on_it)
    network = Network("network", NetworkArgs(names=names, encrypted=stack.network.encrypted), on_it)
    kept = Secrets("secrets", SecretsArgs(names=names, values=values), on_it)
    database = Database(
        "database",
        DatabaseArgs(
            names=names,
            keys=stack.database,
            image=stack.images.postgres,
            network=network.internal,
            secrets=kept,
            keep_days=stack.backups.keep_days if stack.backups.enabled else None,
            protect=stack.production,
            url=url,
            project=PROJECT,
            host=host,
        ),
        on_it,
    )
    cache = Cache(
        "cache",
        CacheArgs(
            names=names,
            keys=stack.cache,
            image=stack.images.valkey,
            network=network.internal,
            password=values["cache_password"],
            secrets=kept,
            host=host,
        ),
        on_it,
    )
    migration = Migration(
        "migration",
        MigrationArgs(
            names=names,
            kind=stack.kind,
            image=image.reference,
            # A managed database is outside, where only the edge network leads.
            networks=[network.internal if url is None else network.edge],
            database=database,
            secrets=kept,
            host=host,
        ),
        on_it,
    )
    api = Api(
        "api",
        ApiArgs(
            names=names,
            kind=stack.kind,
            keys=stack.api,
            mail=stack.mail,
            image=image.reference,
            network=network,
            database=database,
            cache=cache,
            secrets=kept,
            after=[migration.done, cache.ready],
            host=host,
        ),
        on_it,
    )
    edge = Edge(
        "edge",
        EdgeArgs(
            names=names,
            keys=stack.edge,
            image=stack.images.caddy,
            network=network.edge,
            api=api,
            constraints=database.constraints,
            protect=stack.production,
            host=host,
        ),
        on_it,
    )
    backups = None
    if stack.backups.enabled:
        backups = Backups(
            "backups",
            BackupsArgs(
                names=names,
                keys=stack.backups,
                image=stack.images.postgres,
                network=network,
                database=database,
                secrets=kept,
                protect=stack.production,
                after=[migration.done],
                host=host,
            ),
            on_it,
        )
    if stack.uptime.enabled:
        Uptime(
            "uptime",
            UptimeArgs(
                names=names,
                keys=stack.uptime,
                images=stack.images,
                public_url=stack.public_url,
                edge=stack.edge,
                mail=stack.mail,
                network=network,
                api=api,
                api_replicas=stack.api.replicas,
                database=database,
                secrets=kept,
                backups=backups,
                backup_keys=stack.backups,
                webhook=first_secret(stack, "alertWebhook"),
                mail_password=first_secret(stack, "alertMailPassword", "mailPassword"),
                after=[migration.done],
                serving=[edge.ready],
                host=host,
            ),
            on_it,
        )

    pulumi.export("url", stack.public_url)
    pulumi.export("environment", stack.environment)
    pulumi.export("kind", stack.kind)
    pulumi.export("image", image.reference)
    pulumi.export("schema", migration.schema)
    pulumi.export("services", {"api": api.service, "edge": edge.service, "cache": names.of("cache")})
    pulumi.export("networks", {"edge": names.of("edge"), "internal": names.of("internal")})
    pulumi.export("ports", {"https": stack.edge.https_port, "http": stack.edge.http_port})
    pulumi.export("database", {"mode": stack.database.mode, "address": database.address, "volume": database.volume})
    pulumi.export("backups", {"volume": backups.volume if backups else None})


if __name__ == "__main__":
    main()
