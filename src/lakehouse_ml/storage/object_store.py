"""Files and locks in an object store by obstore, which reads the same environment variables as delta-rs and Sail."""

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
# Seconds between two renewals of a lock, and seconds without one after which its holder counts as dead.
_RENEWAL_SECONDS, _EXPIRY_SECONDS = 10.0, 45.0


class S3Files(FsspecStore):
    """`s3://…` for fsspec, and with it for every dataset that is a file."""

    protocol = "s3"


class AzureFiles(FsspecStore):
    """`abfss://<container>@<account>.dfs.core.windows.net/…`."""

    protocol = "abfss"


class GoogleFiles(FsspecStore):
    """`gs://…`."""

    protocol = "gs"


@dataclass
class _Lease:
    """A lock object. Its holder renews it by conditional writes, which fail once another run has taken it over."""

    store: Any
    lake: str
    token: bytes
    tag: str = ""
    is_lost: bool = False

    def acquire(self, expiry: float) -> None:
        """Write the lock if there is none, or if its holder does not renew it for `expiry` seconds.

        Raises:
            BusyError: The holder renews it.
        """
        last_content, watched_from = "", time.monotonic()
        while not self._write("create"):
            holder, tag = self._read()
            if tag and not last_content:
                log.info("  the lake is locked (%s); waiting at most %.0f s for its renewal", holder, expiry)
                last_content, watched_from = tag, time.monotonic()
            is_expired = time.monotonic() - watched_from > expiry
            if tag and (tag != last_content or (is_expired and not self._write({"e_tag": tag}))):
                raise BusyError(
                    f"Another run is using the lake {self.lake} ({holder}). Run again when it is done, or name "
                    f"another lake: LAKE=<address>."
                )
            if self.tag:
                self._remove_leftovers(holder)
                return
            time.sleep(1)

    def renew(self, done: Event, interval: float, expiry: float) -> None:
        """Renew the lock until `done`; interrupt the main thread as soon as another run has taken it over."""
        renewed_at = time.monotonic()
        while not done.wait(interval):
            try:
                is_ours = self._write({"e_tag": self.tag})
                renewed_at = time.monotonic() if is_ours else renewed_at
            except Exception as error:
                log.debug("the lock of %s could not be renewed: %s", self.lake, error)
                is_ours = time.monotonic() - renewed_at < expiry
            if not is_ours:
                self.is_lost = True
                signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)  # wakes it from any wait
                return

    def release(self) -> None:
        """Remove the lock if it is still ours. Without success it expires."""
        with suppress(Exception):
            if not self.is_lost and self._read()[1] == self.tag:
                obstore.delete(self.store, _LOCK)

    @staticmethod
    def _remove_leftovers(holder: str) -> None:
        """Remove temporary files of a dead holder that ran on this machine."""
        match = re.match(r"process (\d+) of ([^,]*),", holder)
        if match and match[2] == socket.gethostname():
            remove_leftovers(int(match[1]))

    def _write(self, mode: Any) -> bool:
        """Write the lock under a condition. Whether it is ours now.

        After a refusal the lock is read: the write may have succeeded although its response was lost.
        """
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
            lock = obstore.get(self.store, _LOCK)
            return bytes(lock.bytes()).decode(), str(lock.meta["e_tag"])
        except FileNotFoundError:
            return "", ""


@contextmanager
def lake_lock(lake: str, interval: float = _RENEWAL_SECONDS, expiry: float = _EXPIRY_SECONDS) -> Iterator[None]:
    """Lock a lake in an object store by an object with conditional writes.

    Clocks of different machines are not compared: a run that finds a lock watches it, and takes it over if nobody
    renews it meanwhile.

    Args:
        lake: Address of the lake.
        interval: Seconds between two renewals.
        expiry: Seconds without a renewal after which a holder counts as dead.

    Raises:
        BusyError: Another run has the lock, or took it over because this one did not renew it.
    """
    retries: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=expiry / 2)}
    holder = f"process {os.getpid()} of {socket.gethostname()}, {uuid.uuid4().hex[:8]}"
    lease = _Lease(from_url(lake, retry_config=retries), lake, holder.encode())
    with_retries(lambda: lease.acquire(expiry))
    done = Event()
    renewal = Thread(target=lease.renew, args=(done, interval, expiry), daemon=True)
    renewal.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lease.is_lost:
            raise
    finally:
        done.set()
        renewal.join()
        lease.release()
    if lease.is_lost:
        raise BusyError(
            f"The lock of the lake {lake} was lost: this run could not renew it, or another run took it over. "
            f"Finished steps are kept; run again when no other run is using it."
        )
