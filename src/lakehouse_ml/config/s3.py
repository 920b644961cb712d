"""S3 settings of every reader and writer: AWS's own variables, which delta-rs, Sail and our files all read.

Credentials are not set here: each library finds them in the environment, or as the identity of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# Keys of globals.yml and AWS's names for them; where conf is null, the variable stays as the shell set it.
VARIABLES = {
    "s3_endpoint": "AWS_ENDPOINT_URL",
    "s3_encryption": "AWS_SERVER_SIDE_ENCRYPTION",
    "s3_kms_key": "AWS_SSE_KMS_KEY_ID",
}
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ALGORITHMS = {"aws:kms": "SSE-KMS", "AES256": "AES256"}


def export_s3_environment(conf: Mapping[str, Any]) -> None:
    """Set AWS's variables of this process from conf's globals; call it before anything opens an address.

    Args:
        conf: The values of globals.yml.
    """
    os.environ.update({variable: conf[name] for name, variable in VARIABLES.items() if conf.get(name)})
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        os.environ["AWS_ALLOW_HTTP"] = "true"
    # Endpoints in a profile's file are read by AWS's own library alone; the others would go elsewhere.
    os.environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = str(not os.environ.get("AWS_ENDPOINT_URL")).lower()
    # Of two commits of one version, the store itself refuses the second.
    os.environ.setdefault("AWS_CONDITIONAL_PUT", "etag")


def spark_settings() -> dict[str, str]:
    """The same settings for Hadoop's file system on a JVM, and for the Python workers of a cluster."""
    settings = {"fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        secure = str(endpoint.startswith("https://")).lower()
        settings |= {"endpoint": endpoint, "path.style.access": "true", "connection.ssl.enabled": secure}
    if region := next((os.environ[name] for name in _REGION if os.environ.get(name)), None):
        settings["endpoint.region"] = region
    if encryption := os.environ.get("AWS_SERVER_SIDE_ENCRYPTION"):
        settings["encryption.algorithm"] = _ALGORITHMS.get(encryption, encryption)
        settings["encryption.key"] = os.environ.get("AWS_SSE_KMS_KEY_ID", "")
    hadoop = {name if name.startswith("fs.") else f"fs.s3a.{name}": value for name, value in settings.items()}
    public = (*VARIABLES.values(), *_REGION, "AWS_ALLOW_HTTP")
    return {f"spark.hadoop.{name}": value for name, value in hadoop.items() if value} | {
        f"spark.executorEnv.{name}": os.environ[name] for name in public if os.environ.get(name)
    }
