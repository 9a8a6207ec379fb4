"""Runs that are asked to stop: once in order, twice at once, and never by one wish that arrives twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from geosoil.stops import TOGETHER_S, Stop, handling, listen


class TestSignals:
    """SIGINT and SIGTERM ask for a stop."""

    @pytest.mark.parametrize(
        ("number", "code", "exit_code"),
        [(signal.SIGINT, "GS-INTERRUPTED", 130), (signal.SIGTERM, "GS-TERMINATED", 143)],
    )
    def test_a_signal_asks_for_a_stop_and_the_error_says_which_it_was(
        self, number: signal.Signals, code: str, exit_code: int
    ) -> None:
        stop = Stop()
        before = signal.getsignal(number)
        with listen(stop):
            assert not stop.asked
            signal.raise_signal(number)
            assert stop.asked
            assert not stop.overdue
        assert signal.getsignal(number) is before
        error = stop.error("go on with: geosoil map --resume")
        assert (error.code, error.exit_code) == (code, exit_code)
        assert error.hint == "go on with: geosoil map --resume"

    def test_handlers_come_back_after_an_error_too(self) -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(KeyError), listen(Stop()):
            raise KeyError
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    def test_another_thread_leaves_the_signals_alone(self) -> None:
        found: list[Any] = []

        def run() -> None:
            with listen(Stop()):
                found.append(signal.getsignal(signal.SIGTERM))

        before = signal.getsignal(signal.SIGTERM)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert found == [before]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_second_signal_ends_the_process_at_once(self, number: signal.Signals) -> None:
        code = (
            "import time\n"
            "from geosoil.stops import Stop, listen\n"
            "stop = Stop()\n"
            "with listen(stop):\n"
            "    print('listening', flush=True)\n"
            "    while not stop.asked: time.sleep(0.01)\n"
            "    print('asked', flush=True)\n"
            "    time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            process.send_signal(number)
            assert process.stdout.readline() == "asked\n"
            time.sleep(2 * TOGETHER_S)
            process.send_signal(number)
            assert process.wait(10) == -number

    def test_signals_that_come_together_are_one(self) -> None:
        stop = Stop()
        with listen(stop):
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            time.sleep(TOGETHER_S / 3)
            signal.raise_signal(signal.SIGTERM)
        assert stop.asked

    def test_of_two_signals_the_second_may_come_when_the_first_was_heeded(self) -> None:
        outer: list[int] = []
        with handling(outer.append):
            with listen(Stop()):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert outer == []
            time.sleep(2 * TOGETHER_S)
            signal.raise_signal(signal.SIGTERM)
        assert outer == [signal.SIGTERM]

    def test_other_signals_are_left_alone(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with handling(Stop().ask, [signal.SIGTERM]):
            assert signal.getsignal(signal.SIGINT) is before
