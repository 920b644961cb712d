"""One run at a time has the lock of a lake at an address: an object in the store, without a clock or a service."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from stores import Store

from lakehouse_ml.errors import BusyError

obstore = pytest.importorskip("obstore")
_HOLD = """
import sys, time
from lakehouse_ml.storage import object_store
with object_store.lake_lock(sys.argv[1], interval=0.3, expiry=2):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lake(request: pytest.FixtureRequest, store: Store) -> str:
    return f"s3://{store.bucket}/{request.node.name}"


@pytest.fixture
def holder(lake: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked the lake."""
    call = [sys.executable, "-c", _HOLD, lake]
    # In a process of its own: a signal for it would end the engine of the tests, too.
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(10)


def lock_lake(lake: str, **how: float) -> object:
    from lakehouse_ml.storage import object_store

    return object_store.lake_lock(lake, **{"interval": 0.3, "expiry": 2, **how})


def lock_exists(lake: str) -> bool:
    try:
        obstore.head(obstore.store.from_url(lake), ".lock")
    except FileNotFoundError:
        return False
    return True


def test_a_second_run_is_refused_while_the_first_one_lives(lake: str, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(BusyError, match=rf"using the lake {lake} \(process {holder.pid} of "), lock_lake(lake):
        pass
    assert lock_exists(lake)


def test_the_lock_of_a_dead_run_is_taken_over(lake: str, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    started = time.monotonic()
    with lock_lake(lake):
        assert time.monotonic() - started >= 2
        assert lock_exists(lake)
    assert not lock_exists(lake)


def test_a_run_that_slept_until_another_took_its_lake_stops_and_says_so(
    lake: str, holder: subprocess.Popen[str]
) -> None:
    obstore.put(obstore.store.from_url(lake), ".lock", b"process 1 of another machine, now")
    errors = holder.communicate(timeout=20)[1]
    assert "BusyError" in errors
    assert "was lost" in errors
    assert lock_exists(lake)


def test_ctrl_c_is_still_the_users_and_leaves_no_lock(lake: str, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in holder.communicate(timeout=20)[1]
    assert not lock_exists(lake)


@pytest.mark.parametrize("seed", range(5))
def test_a_lock_is_acquired_and_released_on_a_bad_day_of_the_store(lake: str, store: Store, seed: int) -> None:
    store.fail(0.3, seed)
    with lock_lake(lake, expiry=20):
        time.sleep(1)
    store.fail(0)
