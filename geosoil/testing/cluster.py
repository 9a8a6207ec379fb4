"""A small dask.distributed cluster of processes with addresses of their own, as machines have, for tests.

Where the system allows it, which takes the rights of root, each process is in a network namespace of its own, with a
cable to a bridge in the caller's; elsewhere each listens on another loopback address.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit

__all__ = ["Machine", "Machines", "machines"]

_Kind = Literal["scheduler", "worker"]

#: From linux/sched.h.
_CLONE_NEWNET = 0x40000000
#: Seconds for a process to start and to be reached.
_START_S, _REACH_S = 60.0, 5.0
_bridges = itertools.count()


@dataclass(frozen=True)
class Machine:
    """A process that is a scheduler or a worker.

    Attributes
    ----------
    address : str
        Where it listens, such as ``tcp://198.18.7.3:40001``.
    process : ForkServerProcess
        To be killed, or asked whether it lives.
    """

    address: str
    process: ForkServerProcess
    _pipe: Connection = field(repr=False)
    _cable: str = field(repr=False)

    @property
    def host(self) -> str:
        """Its address without the port."""
        return str(urlsplit(self.address).hostname)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end; the system closes its connections."""
        self.process.kill()
        self.process.join()
        self._pipe.close()

    def cut(self) -> None:
        """Take the power away: killed, and nobody is told; where it has no cable it is killed only."""
        if self._cable:
            _ip(f"link set {self._cable} down")
        self.kill()


class _Bridge:
    """A bridge in this network namespace, with a cable to each process's own."""

    apart = True

    def __init__(self) -> None:
        self._held: list[int] = []
        number = next(_bridges)
        self._name = f"gs{os.getpid()}b{number}"[:13]
        # 198.18.0.0/15 is for tests of networks (RFC 2544): no real one uses it.
        self._net = f"198.18.{(os.getpid() + 7 * number) % 256}"
        _ip(
            f"link add {self._name} type bridge",
            f"addr add {self._net}.1/24 dev {self._name}",
            f"link set {self._name} up",
        )

    def plug(self, number: int, pid: int) -> tuple[str, str]:
        """A cable to a process that left this namespace; gives back its address and the cable."""
        # A namespace that goes with its process would take the last packets along.
        self._held.append(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))
        cable = f"{self._name}{number}"[-15:]
        _ip(
            f"link add {cable} type veth peer name eth0 netns {pid}",
            f"link set {cable} master {self._name}",
            f"link set {cable} up",
        )
        return f"{self._net}.{number + 2}", cable

    def close(self) -> None:
        """The cables go with their namespaces."""
        while self._held:
            os.close(self._held.pop())
        with suppress(OSError, subprocess.CalledProcessError):
            _ip(f"link del {self._name}")


class _Loopback:
    """Another loopback address for each process."""

    apart = False

    def plug(self, number: int, pid: int) -> tuple[str, str]:
        """The address of a process; this machine's only one where the system has no others."""
        host = f"127.0.0.{number + 2}"
        with suppress(OSError), socket.socket() as trial:
            trial.bind((host, 0))
            return host, ""
        return "127.0.0.1", ""

    def close(self) -> None:
        """Nothing is left."""


def _ip(*lines: str) -> None:
    """Commands of iproute2; raises OSError where it is not there, CalledProcessError where it may not."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)  # noqa: S607


def _serve(pipe: Connection, kind: _Kind, scheduler: str, folder: str, *, apart: bool) -> None:
    """What a process does: leave the namespace, get an address, and serve; it ends with its caller."""
    if apart and ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    pipe.send("ready")
    host = pipe.recv()
    if apart:
        _ip("link set lo up", f"addr add {host}/24 dev eth0", "link set eth0 up")
    asyncio.run(_listen(pipe, kind, scheduler, folder, host))


async def _listen(pipe: Connection, kind: _Kind, scheduler: str, folder: str, host: str) -> None:
    from distributed import Scheduler, Worker

    server: Any
    if kind == "scheduler":
        server = Scheduler(host=host, port=0, dashboard=False, dashboard_address=":0")
    else:
        server = Worker(
            scheduler, host=host, nthreads=1, memory_limit=0, dashboard=False, local_directory=folder, death_timeout=20
        )
    async with server:
        pipe.send(server.address)
        threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
        await server.finished()


def _end_with(pipe: Connection) -> None:
    """Wait for the caller's end of the pipe to close."""
    with suppress(EOFError, OSError):
        pipe.recv()
    os._exit(0)


@dataclass
class Machines:
    """A scheduler and its workers, one thread each.

    Attributes
    ----------
    scheduler : Machine
        Its `address` is what `geosoil.map` takes.
    workers : list of Machine
        In the order of their start.
    apart : bool
        Whether each is in a network namespace of its own.
    """

    scheduler: Machine
    workers: list[Machine]
    _net: _Bridge | _Loopback = field(repr=False)
    _folder: str = field(repr=False)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self.scheduler.address

    @property
    def apart(self) -> bool:
        """Whether each process is in a network namespace of its own."""
        return self._net.apart

    @property
    def living(self) -> list[Machine]:
        """Workers that were not killed."""
        return [worker for worker in self.workers if worker.process.is_alive()]

    def add(self, count: int = 1) -> list[Machine]:
        """Start workers, which are known to the scheduler when this returns."""
        first = len(self.workers) + 1
        begun = [_begin(self._net, "worker", self.address, self._folder) for _ in range(count)]
        made = [_finish(self._net, first + place, *one) for place, one in enumerate(begun)]
        self.workers += made
        return made


def _begin(net: _Bridge | _Loopback, kind: _Kind, scheduler: str, folder: str) -> tuple[ForkServerProcess, Connection]:
    context = get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, kind, scheduler, folder), kwargs={"apart": net.apart}, daemon=True
    )
    process.start()
    theirs.close()
    return process, ours


def _finish(net: _Bridge | _Loopback, number: int, process: ForkServerProcess, pipe: Connection) -> Machine:
    """Give a process its address, and wait until it serves; raises OSError where it does not."""
    try:
        _receive(pipe)
        host, cable = net.plug(number, int(process.pid or 0))
        pipe.send(host)
        return Machine(_receive(pipe), process, pipe, cable)
    except BaseException:
        process.kill()
        process.join()
        raise


def _receive(pipe: Connection) -> str:
    if not pipe.poll(_START_S):
        raise TimeoutError("a process does not start")
    return str(pipe.recv())  # EOFError: it ended


def _scheduler(folder: str) -> tuple[_Bridge | _Loopback, Machine]:
    """A scheduler in a namespace of its own that can be reached from here, or else one on a loopback address."""
    for kind in (_Bridge, _Loopback):
        net: _Bridge | _Loopback | None = None
        try:
            net = kind()
            made = _finish(net, 0, *_begin(net, "scheduler", "", folder))
            parts = urlsplit(made.address)
            socket.create_connection((parts.hostname, int(parts.port or 0)), timeout=_REACH_S).close()
        except (OSError, EOFError, subprocess.CalledProcessError):
            if net is not None:
                net.close()
        else:
            return net, made
    raise OSError("no scheduler can be started")


@contextmanager
def machines(workers: int = 2, *, preload: Sequence[str] = ()) -> Iterator[Machines]:
    """A cluster of processes without nannies: what is killed stays dead.

    Parameters
    ----------
    workers : int
        Processes with one thread each, besides the scheduler's.
    preload : sequence of str
        Modules that are imported once for all processes, which are forked from a process that has them.

    Yields
    ------
    Machines
        All of it is killed at the end.
    """
    get_context("forkserver").set_forkserver_preload([__name__, "distributed", *preload])
    with TemporaryDirectory(prefix="geosoil-cluster-") as folder:
        net, scheduler = _scheduler(folder)
        made = Machines(scheduler, [], net, folder)
        try:
            made.add(workers)
            yield made
        finally:
            for machine in (*made.workers, scheduler):
                if machine.process.is_alive():
                    machine.kill()
            net.close()
