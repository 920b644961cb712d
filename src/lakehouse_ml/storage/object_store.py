"""Files and locks in an object store, by obstore: the library beneath delta-rs and Sail, with the same variables."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread, main_thread
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.fsspec import FsspecStore
from obstore.store import from_url

from lakehouse_ml.engine.temporary_files import remove_leftovers
from lakehouse_ml.errors import BusyError
from lakehouse_ml.storage.retry import with_retries

log = logging.getLogger(__name__)

_LOCK = ".lock"
# A holder shows that it lives so often, and counts as dead when it hasn't for as long as that. Seconds.
_BEAT, _PATIENCE = 10.0, 45.0


class S3Files(FsspecStore):
    """`s3://…` for fsspec, and so for every dataset that is a file."""

    protocol = "s3"


class AzureFiles(FsspecStore):
    """`abfss://<container>@<account>.dfs.core.windows.net/…`."""

    protocol = "abfss"


class GoogleFiles(FsspecStore):
    """`gs://…`."""

    protocol = "gs"


@dataclass
class _Lease:
    """A lock object: who holds it writes it anew again and again, each time on condition that it is still his."""

    store: Any
    lake: str
    token: bytes
    tag: str = ""
    lost: bool = False

    def take(self, patience: float) -> None:
        """Write the lock, if there is none or its holder is seen to be dead.

        Raises:
            BusyError: Its holder lives.
        """
        watched, since = "", time.monotonic()
        while not self._written("create"):
            holder, tag = self._read()
            if tag and not watched:
                log.info("  the lake is locked (%s); waiting for a sign of life, %.0f s at most", holder, patience)
                watched, since = tag, time.monotonic()
            dead = time.monotonic() - since > patience
            if tag and (tag != watched or (dead and not self._written({"e_tag": tag}))):
                raise BusyError(
                    f"Another run is at work on the lake {self.lake} ({holder}). Run again when it is done, or name "
                    f"another lake: LAKE=<address>."
                )
            if self.tag:
                self._remove_leftovers(holder)
                return
            time.sleep(1)

    def renew(self, done: Event, beat: float, patience: float) -> None:
        """Show signs of life until `done`; stop the main thread as soon as somebody else has the lake."""
        seen = time.monotonic()
        while not done.wait(beat):
            try:
                kept = self._written({"e_tag": self.tag})
                seen = time.monotonic() if kept else seen
            except Exception as error:
                log.debug("the lock of %s could not be renewed: %s", self.lake, error)
                kept = time.monotonic() - seen < patience
            if not kept:
                self.lost = True
                signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)  # wakes it, wherever it waits
                return

    def give_back(self) -> None:
        """Remove the lock, if it is still ours; else it expires."""
        with suppress(Exception):
            if not self.lost and self._read()[1] == self.tag:
                obstore.delete(self.store, _LOCK)

    @staticmethod
    def _remove_leftovers(holder: str) -> None:
        """Remove what a dead holder left on this machine, if it was one of this machine."""
        dead = re.match(r"process (\d+) of ([^,]*),", holder)
        if dead and dead[2] == socket.gethostname():
            remove_leftovers(int(dead[1]))

    def _written(self, mode: Any) -> bool:
        """Whether the lock is ours now. An answer that got lost on its way leaves that to be read."""
        text = self.token + f", {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode()
        try:
            self.tag = str(obstore.put(self.store, _LOCK, text, mode=mode, use_multipart=False)["e_tag"])
        except (AlreadyExistsError, PreconditionError):
            holder, tag = self._read()
            if not holder.startswith(self.token.decode()):
                return False
            self.tag = tag
        return True

    def _read(self) -> tuple[str, str]:
        try:
            there = obstore.get(self.store, _LOCK)
            return bytes(there.bytes()).decode(), str(there.meta["e_tag"])
        except FileNotFoundError:
            return "", ""


@contextmanager
def lake_lock(lake: str, beat: float = _BEAT, patience: float = _PATIENCE) -> Iterator[None]:
    """Have a lake at an address for oneself, by an object that is put on condition and renewed.

    No clock is trusted: whoever finds a lock watches it, and takes it over if nobody wrote it meanwhile.

    Args:
        lake: Its address.
        beat: Seconds between two signs of life.
        patience: Seconds without one, after which a holder counts as dead.

    Raises:
        BusyError: Another run has it, or took it over because this one showed no sign of life.
    """
    retries: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=patience / 2)}
    who = f"process {os.getpid()} of {socket.gethostname()}, {uuid.uuid4().hex[:8]}"
    lease = _Lease(from_url(lake, retry_config=retries), lake, who.encode())
    with_retries(lambda: lease.take(patience))
    done = Event()
    beating = Thread(target=lease.renew, args=(done, beat, patience), daemon=True)
    beating.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lease.lost:
            raise
    finally:
        done.set()
        beating.join()
        lease.give_back()
    if lease.lost:
        raise BusyError(
            f"The lock of the lake {lake} was lost: this run could not renew it, or another one took it over. What "
            f"was finished is kept; run again when no other run is at work on it."
        )
