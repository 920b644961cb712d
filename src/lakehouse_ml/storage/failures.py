"""Classify failures of stores and disks by their messages.

Engines and stores wrap messages of the operating system in errors of their own, so the text is the only common sign.
"""

from __future__ import annotations

import re

from lakehouse_ml.engine.temporary_files import temporary_folder
from lakehouse_ml.errors import LakehouseError, chain

# Messages about an object store by delta-rs, Sail and Hadoop.
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
    """Whether an object store failed or refused, rather than its content being wrong."""
    return _mentions(error, f"{NO_BUCKET}|{NOT_ALLOWED}|{BROKEN_OFF}")


def is_disk_failure(error: BaseException) -> bool:
    """Whether a disk failed: no space, no permission or a defect."""
    return _mentions(error, _DISK)


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk is full."""
    return _mentions(error, FULL)


def _mentions(error: BaseException, pattern: str) -> bool:
    """Whether the text of an error or of one of its causes matches."""
    return any(re.search(pattern, str(cause)) for cause in chain(error))


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: the response of an object store broke off, or it was busy."""
    text = " ".join(str(cause) for cause in chain(error))
    return not re.search(f"{NO_BUCKET}|{NOT_ALLOWED}", text) and bool(re.search(BROKEN_OFF, text))


def temporary_folder_full_error() -> LakehouseError:
    """Error for a full disk of temporary files; the engine's own error does not name the folder."""
    return LakehouseError(
        f"The disk for temporary files is full: {temporary_folder()} could not be written. Rows of a table are kept "
        f"there before they are stored. Free space there, or name another folder: TMPDIR=<folder>."
    )
