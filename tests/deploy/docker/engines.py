"""Three machines on this one: a Docker engine each, in network namespaces of their own, joined into one swarm.

Needs root, iproute2 and nsenter. What two machines share here is disk, kernel and clock; network, engine and containers
are each one's own.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import psutil
from docker.errors import DockerException

from tests.deploy.docker.ground import wait_for

NEEDED: Final = ("ip", "nsenter", "dockerd", "containerd", "iptables")
SUBNET: Final = "10.213.77"
BRIDGE: Final = "bridge"
CLONE_NEWNET: Final = 0x40000000
"""Of setns(2): a network namespace."""
START_SECONDS: Final = 60


class EnginesError(Exception):
    """Machines cannot be made here; the message says why."""


@dataclass
class Machine:
    """One engine in its namespace.

    Args:
        name: of the namespace, and host name of the swarm's node.
        address: in the network of the machines.
        folder: of its data.
        engine: its process, once it was started.
    """

    name: str
    address: str
    folder: Path
    engine: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        """Where its engine answers."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def port(self) -> str:
        """Its end on the switch."""
        return f"port{self.address.rpartition('.')[2]}"

    @property
    def inside(self) -> tuple[str, ...]:
        """The words before a command that runs in its network."""
        return ("nsenter", f"--net=/run/netns/{self.name}")

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Have this thread, and the processes that it starts, live in the machine's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{self.name}").open() as wanted:
            if libc.setns(wanted.fileno(), CLONE_NEWNET):
                raise EnginesError(f"no way into {self.name}: {os.strerror(ctypes.get_errno())}")
            try:
                yield
            finally:
                assert libc.setns(before.fileno(), CLONE_NEWNET) == 0

    def client(self) -> "docker.DockerClient":
        """For its engine."""
        return docker.DockerClient(base_url=self.host, timeout=30)

    def start(self, switch: str) -> None:
        """Make the namespace, and start the engine in it.

        Args:
            switch: the namespace with the bridge.
        """
        ip("netns", "add", self.name)
        ip("-n", switch, "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("-n", switch, "link", "set", self.port, "master", BRIDGE, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            ip("-n", self.name, *words)
        self.folder.mkdir()
        command = (
            *("unshare", "--uts", "--mount", "--propagation", "slave"),
            *("sh", "-c", 'hostname "$0" && exec "$@"', self.name),
            *("dockerd", "--host", self.host, "--data-root", f"{self.folder}/data"),
            *("--exec-root", f"{self.folder}/run", "--pidfile", f"{self.folder}/pid"),
            *("--cgroup-parent", f"/{self.name}", "--bip", "172.30.0.1/24"),
        )
        with (self.folder / "log").open("w") as log:
            self.engine = subprocess.Popen((*self.inside, *command), stdout=log, stderr=log, start_new_session=True)
        wait_for(self.answers, START_SECONDS)

    def answers(self) -> bool:
        """Whether its engine does."""
        try:
            with socket.socket(socket.AF_UNIX) as knock:  # Docker's library leaves its own open when nobody is there
                knock.connect(self.host.removeprefix("unix://"))
            client = self.client()
        except (DockerException, OSError):
            return False
        try:
            return bool(client.ping())
        except (DockerException, OSError):
            return False
        finally:
            client.close()

    def kill(self) -> None:
        """As if somebody pulled its plug: its network first, then every process of it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("-n", self.name, "link", "set", "eth0", "down")
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def remove(self) -> None:
        """Leave nothing of it."""
        self.kill()
        wait_for(lambda: not self._processes(), 20)
        if self.engine is not None:
            self.engine.wait(20)
        for mount in reversed(psutil.disk_partitions(all=True)):
            if mount.mountpoint.startswith(f"{self.folder}/"):
                subprocess.run(("umount", "--lazy", mount.mountpoint), check=False, capture_output=True)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("netns", "delete", self.name)

    def _processes(self) -> list[psutil.Process]:
        """The engine, what belongs to it, and what runs in its containers."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.folder) in word for word in process.cmdline()):
                    found |= {one.pid: one for one in (process, *process.children(recursive=True))}
        found.pop(os.getpid(), None)
        return [one for one in found.values() if _lives(one)]


@contextlib.contextmanager
def machines(count: int = 3) -> Iterator[list[Machine]]:
    """So many machines, whose engines are managers of one swarm.

    Raises:
        EnginesError: there can be none here.
    """
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise EnginesError(f"{', '.join(missing)}: not on the PATH")
    if os.geteuid() != 0:
        raise EnginesError("network namespaces need root")
    switch = f"slipway-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="slipway-machines-", ignore_cleanup_errors=True) as folder:
        made = [Machine(f"{switch}-{n}", f"{SUBNET}.{n + 10}", Path(folder) / str(n)) for n in range(1, count + 1)]
        try:
            _make_switch(switch)
            for machine in made:
                machine.start(switch)
            _join(made)
            yield made
        finally:
            for machine in made:
                machine.remove()
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", switch)


def _make_switch(name: str) -> None:
    """A bridge in a namespace of its own, out of reach of this machine's firewall.

    Raises:
        EnginesError: the kernel has none.
    """
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", BRIDGE, "type", "bridge")
        ip("-n", name, "link", "set", BRIDGE, "up")
    except subprocess.CalledProcessError as error:
        raise EnginesError(f"no network between machines: {error.stderr.strip()}") from error


def ip(*words: str) -> None:
    """Change the network."""
    subprocess.run(("ip", *words), check=True, capture_output=True, text=True)


def copy_images(names: list[str], target: Machine) -> None:
    """Take images from this machine's own engine to another, without a registry."""
    with subprocess.Popen(("docker", "save", *names), stdout=subprocess.PIPE) as giver:
        load = ("docker", "--host", target.host, "load", "--quiet")
        subprocess.run(load, stdin=giver.stdout, check=True, capture_output=True)


def _join(made: list[Machine]) -> None:
    first, *others = made
    client = first.client()
    client.swarm.init(advertise_addr=first.address, listen_addr=f"{first.address}:2377")
    token: Any = client.swarm.attrs["JoinTokens"]["Manager"]
    for machine in others:
        other = machine.client()
        own = machine.address
        other.swarm.join(
            remote_addrs=[f"{first.address}:2377"], join_token=token, advertise_addr=own, listen_addr=f"{own}:2377"
        )
        other.close()
    client.close()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
