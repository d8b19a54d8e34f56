"""The Pulumi CLI as a child of ours: found or installed, asked to end when we end, and never left behind."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from pulumi.automation import CommandResult, InvalidVersionError, PulumiCommand
from pulumi.automation.errors import create_command_error

from infra.embedded.become import following
from ops.errors import UsageError

CANCEL_SECONDS: Final = 120
"""How long the engine may take to finish what is under way after it was asked to end; a migration may be among it."""
DOWNLOAD_SECONDS: Final = 20
"""Longest silence of the server that the CLI is downloaded from."""
INSTALL_URL: Final = "https://www.pulumi.com/docs/install/"

Heard = Callable[[str], Any]


class Command(PulumiCommand):
    """Runs the CLI in a session of its own: Ctrl-C reaches us alone, and we ask the engine to end in order."""

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Heard | None = None,
        on_error: Heard | None = None,
    ) -> CommandResult:
        """As the Automation API calls it; what it says is heard when it has ended.

        Raises:
            CommandError: the CLI failed; a subclass says how.
        """
        result = self.ask(args, Path(cwd), additional_env)
        for text, heard in ((result.stdout, on_output), (result.stderr, on_error)):
            for line in text.splitlines() if heard else ():
                heard(line)  # type: ignore[misc]  # not None, or there are no lines
        return result

    def ask(
        self, words: Sequence[str], folder: Path, variables: Mapping[str, str], *, given: str = ""
    ) -> CommandResult:
        """One call of the CLI.

        Args:
            words: after `pulumi`.
            folder: the project.
            variables: besides the caller's environment.
            given: what it reads from standard input, such as a secret that must not stand in a list of processes.

        Raises:
            CommandError: it failed.
        """
        environment = {**os.environ, **variables, "PULUMI_AUTOMATION_API": "true", "PULUMI_SKIP_UPDATE_CHECK": "true"}
        if (program := Path(self.command)).is_absolute():  # its plugins lie beside it
            environment["PATH"] = os.pathsep.join((str(program.parent), environment.get("PATH", os.defpath)))
        # Files and no pipes: when we are killed, it must still be able to write, or it never lets go of its lock.
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(
                [*following(), self.command, "--non-interactive", *words],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                cwd=folder,
                env=environment,
                text=True,
                start_new_session=True,
            )
            try:
                child.communicate(given)
            except BaseException:
                _end(child)
                raise
            result = CommandResult(stdout=_text(output), stderr=_text(errors), code=child.returncode)
        if child.returncode != 0:
            raise create_command_error(result)
        return result


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read().rstrip("\n")


def _end(child: "subprocess.Popen[str]") -> None:
    """Let it finish the operations under way and write them down; a second interruption ends it at once."""
    try:
        child.send_signal(signal.SIGINT)
        child.wait(CANCEL_SECONDS)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # its session holds its plugins and the program, and nothing else
        child.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def find() -> Command | None:
    """The CLI that is there: on the PATH, or where its installer or the Automation API puts it."""
    if shutil.which("pulumi"):
        return _at(None)
    return next((found for root in _roots() if (found := _at(root))), None)


def find_or_install() -> Command:
    """The CLI; downloaded where it is missing.

    Raises:
        UsageError: there is none that we can use, and it could not be downloaded.
    """
    if found := find():
        return found
    root = _roots()[-1]
    try:
        with _patience(DOWNLOAD_SECONDS):
            PulumiCommand.install(str(root))
    except (OSError, subprocess.SubprocessError, InvalidVersionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"the Pulumi CLI is missing and could not be downloaded ({reason}): install it ({INSTALL_URL}) and put it "
            "on the PATH"
        ) from error
    installed = _at(root)
    if installed is None:
        raise UsageError(f"the Pulumi CLI that was downloaded to {root} does not run: install it ({INSTALL_URL})")
    return installed


def _at(root: Path | None) -> Command | None:
    """The CLI below this folder (None: on the PATH), when it runs."""
    try:
        return Command(str(root)) if root else Command()
    except (OSError, subprocess.SubprocessError):
        return None
    except InvalidVersionError as error:
        raise UsageError(f"{' '.join(str(error).split())} ({INSTALL_URL})") from error


def _roots() -> list[Path]:
    from pulumi._version import version  # noqa: PLC0415 - says where the Automation API installs

    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    return [home, Path.home() / ".pulumi" / "versions" / str(version)]


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
