"""Work over many items: all of it once, errors raised, stops heeded, and nothing left running."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from geosoil.errors import InputError, ResourceError, UsageError
from geosoil.grid.sweep import check_address, sweep_cluster, sweep_threads
from geosoil.stops import GRACE_S, Stop


def double(item: int) -> int:
    return 2 * item


def fail_at_three(item: int) -> int:
    if item == 3:
        raise KeyError("no such thing")
    return item


def refuse_three(item: int) -> int:
    if item == 3:
        raise InputError("item 3 cannot be read", code="GS-RASTER-READ", details=["where: here"], hint="mend it")
    return item


class TestThreads:
    """On dask's threads, in this process."""

    @pytest.mark.parametrize("num_workers", [1, 3])
    def test_each_item_is_worked_on_once(self, num_workers: int) -> None:
        seen: Counter[int] = Counter()
        lock = threading.Lock()

        def work(item: int) -> None:
            with lock:
                seen[item] += 1

        sweep_threads(work, range(200), num_workers=num_workers, stop=Stop())
        assert seen == Counter(range(200))

    def test_as_many_items_are_in_flight_as_there_are_workers_and_no_more(self) -> None:
        together = threading.Barrier(3, timeout=10)
        lock = threading.Lock()
        in_flight, most = 0, 0

        def work(item: int) -> None:
            nonlocal in_flight, most
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            together.wait()
            with lock:
                in_flight -= 1

        sweep_threads(work, range(9), num_workers=3, stop=Stop())
        assert most == 3

    def test_items_are_taken_in_order(self) -> None:
        order: list[int] = []
        sweep_threads(order.append, range(150), num_workers=1, stop=Stop())
        assert order == list(range(150))

    def test_the_first_error_is_raised_when_those_in_flight_have_ended_and_no_more_are_taken(self) -> None:
        started: list[int] = []
        ended: list[int] = []
        other_began = threading.Event()

        def work(item: int) -> None:
            started.append(item)
            if item == 0:
                assert other_began.wait(10)
                raise InputError("tile 0 cannot be read", code="GS-RASTER-READ")
            other_began.set()
            time.sleep(0.3)
            ended.append(item)

        with pytest.raises(InputError, match="tile 0 cannot be read"):
            sweep_threads(work, range(50), num_workers=2, stop=Stop())
        assert sorted(started) == [0, 1]
        assert ended == [1]

    def test_after_a_stop_those_in_flight_end_and_no_more_are_taken(self) -> None:
        stop = Stop()
        ended: list[int] = []

        def work(item: int) -> None:
            if item == 4:
                stop.ask(signal.SIGINT)
            ended.append(item)

        sweep_threads(work, range(100), num_workers=1, stop=stop)
        assert ended == [0, 1, 2, 3, 4]

    def test_after_a_stop_work_that_hangs_is_given_up(self) -> None:
        stop, freed = Stop(), threading.Event()

        def work(item: int) -> None:
            stop.ask(signal.SIGTERM)
            freed.wait(30)

        before = time.monotonic()
        sweep_threads(work, range(4), num_workers=1, stop=stop)
        waited = time.monotonic() - before
        freed.set()
        assert GRACE_S <= waited < GRACE_S + 2

    def test_without_items_nothing_happens(self) -> None:
        sweep_threads(pytest.fail, [], num_workers=2, stop=Stop())

    def test_a_pool_that_cannot_start_is_an_error_not_an_end(self) -> None:
        with pytest.raises(ValueError, match="max_workers"):
            sweep_threads(time.sleep, [0.001], num_workers=0, stop=Stop())

    def test_no_thread_is_left(self) -> None:
        sweep_threads(time.sleep, [0.001] * 20, num_workers=4, stop=Stop())
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("geosoil")] == []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


class TestCluster:
    """On a dask.distributed cluster."""

    def sweep(self, function: Any, address: str, stop: Stop | None = None, items: int = 20) -> dict[int, int]:
        found: dict[int, int] = {}

        def collect(item: int, result: int) -> None:
            assert item not in found
            found[item] = result

        sweep_cluster(
            lambda client, item: client.submit(function, item, pure=False),
            collect,
            range(items),
            address=address,
            stop=stop or Stop(),
        )
        return found

    def test_each_item_is_collected_with_its_result(self, address: str) -> None:
        assert self.sweep(double, address, items=100) == {item: 2 * item for item in range(100)}

    def test_two_items_a_thread_are_sent_ahead_and_no_more(self, address: str) -> None:
        sent: list[int] = []
        ahead: list[int] = []

        def submit(client: Client, item: int) -> Any:
            sent.append(item)
            return client.submit(double, item, pure=False)

        collected: list[int] = []

        def collect(item: int, result: int) -> None:
            ahead.append(len(sent) - len(collected))
            collected.append(item)

        sweep_cluster(submit, collect, range(40), address=address, stop=Stop())
        assert sorted(collected) == list(range(40))
        assert max(ahead) == 4

    def test_an_error_of_geosoil_comes_back_as_it_was(self, address: str) -> None:
        with pytest.raises(InputError, match="item 3 cannot be read") as caught:
            self.sweep(refuse_three, address)
        error = caught.value
        assert (error.code, error.details, error.hint) == ("GS-RASTER-READ", ("where: here",), "mend it")

    def test_any_other_error_on_a_worker_is_told_in_our_words(self, address: str) -> None:
        with pytest.raises(ResourceError, match="a worker of the dask cluster") as caught:
            self.sweep(fail_at_three, address)
        assert caught.value.code == "GS-SCHEDULER"
        assert "KeyError: 'no such thing'" in caught.value.details[0]

    def test_after_a_stop_no_more_is_collected(self, address: str) -> None:
        stop = Stop()
        collected: list[int] = []

        def collect(item: int, result: int) -> None:
            collected.append(item)
            stop.ask(signal.SIGTERM)

        sweep_cluster(lambda client, item: client.submit(double, item), collect, range(50), address=address, stop=stop)
        assert len(collected) == 1
        assert self.sweep(double, address) == {item: 2 * item for item in range(20)}, "the cluster stays usable"

    def test_an_error_in_collecting_ends_it(self, address: str) -> None:
        def collect(item: int, result: int) -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            sweep_cluster(
                lambda client, item: client.submit(double, item), collect, range(50), address=address, stop=Stop()
            )

    def test_an_address_where_nobody_listens_is_an_error_that_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geosoil.grid.sweep.CONNECT_S", 1.0)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ResourceError, match=address) as caught:
            self.sweep(double, address)
        assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER", 6)

    def test_where_something_else_listens_the_run_ends_and_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geosoil.grid.sweep.CONNECT_S", 0.5)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            with pytest.raises(ResourceError, match=r"tcp://127\.0\.0\.1") as caught:
                self.sweep(double, f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        assert caught.value.code == "GS-SCHEDULER"
        assert caught.value.details == ("what listens there did not answer as a scheduler does in 0.5 s",)

    def test_a_stop_is_heeded_while_nobody_answers(self) -> None:
        stop = Stop()
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            threading.Timer(0.3, stop.ask).start()
            began = time.monotonic()
            assert self.sweep(double, f"tcp://127.0.0.1:{silent.getsockname()[1]}", stop) == {}
        assert time.monotonic() - began < 5

    def test_a_stop_is_heeded_while_a_cluster_has_no_worker(self) -> None:
        stop = Stop()
        with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address=":0") as cluster:
            threading.Timer(1, stop.ask).start()
            began = time.monotonic()
            assert self.sweep(double, cluster.scheduler_address, stop) == {}
        assert time.monotonic() - began < 10

    def test_an_encrypted_connection_without_certificates_says_what_is_missing(self) -> None:
        with pytest.raises(ResourceError, match="tls://roof:8786") as caught:
            self.sweep(double, "tls://roof:8786")
        assert "distributed.comm.tls" in caught.value.details[0]

    def test_a_cluster_in_this_process_needs_no_port(self) -> None:
        with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
            check_address(cluster.scheduler_address)
            assert cluster.scheduler_address.startswith("inproc://")
            assert self.sweep(double, cluster.scheduler_address, items=3) == {0: 0, 1: 2, 2: 4}

    def test_an_address_that_means_nothing_is_an_error_that_names_it(self) -> None:
        with pytest.raises(ResourceError, match="carrier-pigeon://roof") as caught:
            self.sweep(double, "carrier-pigeon://roof")
        assert caught.value.code == "GS-SCHEDULER"

    def test_a_cluster_that_goes_away_in_the_middle_is_an_error(self) -> None:
        with LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
        ) as cluster:
            collected: list[int] = []

            def collect(item: int, result: int) -> None:
                collected.append(item)
                cluster.close()

            with pytest.raises(ResourceError) as caught:
                sweep_cluster(
                    lambda client, item: client.submit(double, item, pure=False),
                    collect,
                    range(50),
                    address=cluster.scheduler_address,
                    stop=Stop(),
                )
        assert caught.value.code == "GS-SCHEDULER"
        assert len(collected) < 50


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("foo", "it has no port"),
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("http://node7:8787", "http is none of tcp, tls, ws, wss"),
        ("tcp://node7", "it has no port"),
        ("tcp://:8786", "it has no host"),
        ("node7:port", "'port'"),
        ("tcp://me:secret@node7:8786", "a name or a password"),
        ("tcp://node7:8786/", "something follows the port"),
    ],
)
def test_an_address_of_another_form_is_refused_and_says_which_is_right(address: str, why: str) -> None:
    with pytest.raises(UsageError, match="no address of a dask scheduler") as caught:
        check_address(address)
    assert (caught.value.code, caught.value.exit_code) == ("GS-SCHEDULER-ADDRESS", 2)
    assert why in caught.value.details[0]
    assert "secret" not in caught.value.render()
    assert "tcp://HOST:8786" in caught.value.hint


def test_the_file_of_a_scheduler_is_not_its_address(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text('{"address": "tcp://10.0.0.5:8786"}', encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        check_address(str(path))
    assert "the address stands in it" in caught.value.details[0]
