"""What this host tells the API's processes: where the other parts are, and what suits a machine that makes load too."""

from pathlib import Path
from urllib.parse import quote

from infra.contract import APP_ROLE, SECRETS_DIR_SETTING, api_settings
from infra.embedded import secrets
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout

LIGHT_HASH = {"SLIPWAY_PASSWORD_MEMORY_KIB": "8192", "SLIPWAY_PASSWORD_PASSES": "1"}
"""About 4 ms a password instead of what deployed environments pay. The load registers and logs in 11 newcomers a
second on the machine that also makes the load: at the full price a baseline would measure Argon2 and little else.
This environment answers on loopback only."""

WIDE_LIMITS = {
    f"SLIPWAY_LIMIT_{name}": "100000/minute"
    for name in ("LOGIN_ADDRESS", "LOGIN_PAIR", "LOGIN_ACCOUNT", "REGISTRATION_ADDRESS", "REFRESH_ADDRESS")
} | {"SLIPWAY_LIMIT_ACCOUNT": "10000000/minute"}
"""All load comes from one address, and a measurement asks as one account as fast as it can. The limits stay on, so that
what they cost is measured too."""

NO_LAME_DUCK = {"SLIPWAY_LAME_DUCK_SECONDS": "0"}
"""Nobody but us visits a private socket: its kept-alive connections need no time to move elsewhere."""


def settings_of(layout: Layout, *, snapshot: Path, private: bool) -> dict[str, str]:
    """The API's environment variables.

    Args:
        layout: the environment's folders.
        snapshot: the folder of the release that is to be served.
        private: whether it serves on a socket of our own, which nobody else visits.
    """
    known = api_settings(
        environment=layout.environment,
        database_url=Database(layout).url(APP_ROLE),
        cache_url=Cache(layout).url,
        mail_url=f"outbox://{quote(str(layout.outbox))}",
        mail_from="Slipway <no-reply@slipway.invalid>",
        release_file=str(snapshot / "release.json"),
    )
    secrets_dir = {SECRETS_DIR_SETTING: str(secrets.folder_of(layout, "api"))}
    return known | secrets_dir | LIGHT_HASH | WIDE_LIMITS | (NO_LAME_DUCK if private else {})
