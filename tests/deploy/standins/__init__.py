"""Stand-ins for the public images that an environment needs, where no image registry can be reached.

Each is built from the distribution's own packages (PostgreSQL and Valkey from the wheels that the embedded target uses)
and keeps the public image's contract: entry point, environment variables, ports, user and places of files. What it
cannot keep is said in its Dockerfile. `python -m tests.deploy.standins` builds them all.
"""

from tests.deploy.standins.builder import StandinError, build
from tests.deploy.standins.recipes import STANDINS, Standin, image

__all__ = ["STANDINS", "Standin", "StandinError", "build", "image"]
