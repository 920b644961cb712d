"""What every reader and writer of S3 is told: AWS's own variables, which delta-rs, Sail and our files all take.

Credentials are none of ours: each library finds them in the environment, or as the identity of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# What conf may say, by AWS's names; an environment variable holds where conf says nothing.
VARIABLES = {
    "s3_endpoint": "AWS_ENDPOINT_URL",
    "s3_encryption": "AWS_SERVER_SIDE_ENCRYPTION",
    "s3_kms_key": "AWS_SSE_KMS_KEY_ID",
}
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ALGORITHMS = {"aws:kms": "SSE-KMS", "AES256": "AES256"}


def tell(given: Mapping[str, Any]) -> None:
    """Set this process's variables from conf's globals, before anything opens an address."""
    os.environ.update({variable: given[name] for name, variable in VARIABLES.items() if given.get(name)})
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        os.environ["AWS_ALLOW_HTTP"] = "true"
    # Endpoints in a profile's file are read by AWS's own library alone; the others would go elsewhere.
    os.environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = str(not os.environ.get("AWS_ENDPOINT_URL")).lower()
    # Of two commits of one version, the store itself refuses the second.
    os.environ.setdefault("AWS_CONDITIONAL_PUT", "etag")


def spark_settings() -> dict[str, str]:
    """The same for Hadoop's file system on a JVM, and for the Python workers of a cluster."""
    told = os.environ
    settings = {"fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"}
    if endpoint := told.get("AWS_ENDPOINT_URL"):
        secure = str(endpoint.startswith("https://")).lower()
        settings |= {"endpoint": endpoint, "path.style.access": "true", "connection.ssl.enabled": secure}
    if region := next((told[name] for name in _REGION if told.get(name)), None):
        settings["endpoint.region"] = region
    if encryption := told.get("AWS_SERVER_SIDE_ENCRYPTION"):
        settings["encryption.algorithm"] = _ALGORITHMS.get(encryption, encryption)
        settings["encryption.key"] = told.get("AWS_SSE_KMS_KEY_ID", "")
    hadoop = {name if name.startswith("fs.") else f"fs.s3a.{name}": value for name, value in settings.items()}
    open_to_all = (*VARIABLES.values(), *_REGION, "AWS_ALLOW_HTTP")
    return {f"spark.hadoop.{name}": value for name, value in hadoop.items() if value} | {
        f"spark.executorEnv.{name}": told[name] for name in open_to_all if told.get(name)
    }
