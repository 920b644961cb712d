"""What went wrong in a store or on a disk, recognised by the words of the system.

Engines and stores hand back the operating system's words inside errors of their own, so a state is recognised by those
words, wherever it came up.
"""

from __future__ import annotations

import re

from lakehouse_ml.engine.temporary_files import temporary_folder
from lakehouse_ml.errors import LakehouseError, chain

# What an object store says of itself, in the words of delta-rs, Sail and Hadoop.
NO_BUCKET = r"NoSuchBucket|bucket does not exist"
NOT_ALLOWED = (
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|[Nn]o credentials|Status Code: 403|"
    r"Unable to load credentials|CredentialsNotLoaded|latest/(api/token|meta-data)|403 Forbidden"
)
BROKEN_OFF = (
    r"SlowDown|Service Unavailable|Generic S3 error|HTTP error|error sending request|response body error|"
    r"Unable to execute HTTP request|AWSServiceIOException|AWSClientIOException|AWSServiceThrottled|"
    r"Premature end of Content-Length"
)
FULL = r"No space left on device|database or disk is full|Disk quota exceeded"
_DISK = rf"{FULL}|Read-only file system|Permission denied|Operation not permitted|Input/output error"


def is_store_failure(error: BaseException) -> bool:
    """Whether something failed by how an object store answered, and not by what lies there."""
    return _mentions(error, f"{NO_BUCKET}|{NOT_ALLOWED}|{BROKEN_OFF}")


def is_disk_failure(error: BaseException) -> bool:
    """Whether something could not be read or written for a reason of the disk: no space, no permission, a fault."""
    return _mentions(error, _DISK)


def is_disk_full(error: BaseException) -> bool:
    """Whether something could not be written for want of space."""
    return _mentions(error, FULL)


def _mentions(error: BaseException, pattern: str) -> bool:
    """Whether an error, or one behind it, has a text that matches."""
    return any(re.search(pattern, str(seen)) for seen in chain(error))


def is_transient(error: BaseException) -> bool:
    """Whether an object store's answer broke off, which may go well the next time."""
    text = " ".join(str(seen) for seen in chain(error))
    return not re.search(f"{NO_BUCKET}|{NOT_ALLOWED}", text) and bool(re.search(BROKEN_OFF, text))


def temporary_folder_full_error() -> LakehouseError:
    """The sentence for temporary files that found no space; the engine's own error doesn't say where."""
    return LakehouseError(
        f"The disk of temporary files is full: {temporary_folder()} could not be written, and a table's rows are kept "
        f"there before they are stored. Free some space there, or name another folder: TMPDIR=<folder>."
    )
