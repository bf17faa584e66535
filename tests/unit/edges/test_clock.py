"""The machine's clocks."""

import time

from shipper.edges.clock import SystemClock


def test_each_clock_is_the_one_it_says() -> None:
    clock = SystemClock()
    for ours, system in (
        (clock.now, time.time),
        (clock.monotonic, time.monotonic),
        (clock.boottime, lambda: time.clock_gettime(time.CLOCK_BOOTTIME)),
    ):
        before = system()
        assert before <= ours() <= system()


def test_neither_timer_goes_back() -> None:
    clock = SystemClock()
    for read in (clock.monotonic, clock.boottime):
        readings = [read() for _ in range(1000)]
        assert readings == sorted(readings)


def test_the_timer_that_counts_sleep_is_never_behind_the_one_that_does_not() -> None:
    clock = SystemClock()
    monotonic = clock.monotonic()
    assert clock.boottime() >= monotonic
