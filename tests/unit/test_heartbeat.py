"""A loop beats while bytes flow on its behalf, in whatever thread; and not as time passes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from shipper.app.loops import Loop, progress


def test_a_part_that_is_sent_by_another_thread_beats_for_the_loop_it_belongs_to() -> None:
    stopping, beats = threading.Event(), []
    with ThreadPoolExecutor(1) as executor:

        def step() -> float:
            for works in (progress, lambda: None):
                loop.beaten_at = 0.0
                executor.submit(copy_context().run, works).result(10)
                beats.append(loop.beaten_at > 0)
            executor.submit(progress).result(10)  # for nobody
            beats.append(loop.beaten_at > 0)
            stopping.set()
            return 0.0

        loop = Loop("carrier", step, stopping=stopping, died=lambda died: beats.append(False))
        loop.start()
        loop.join(10)
    assert beats == [True, False, False]
