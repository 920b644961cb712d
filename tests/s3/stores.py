"""A bucket on the loopback server, and its faults."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass

# What the server takes for credentials; it believes everybody.
WHO = "somebody"


@dataclass(frozen=True)
class Store:
    """The server, and a bucket in it."""

    url: str
    bucket: str

    def variables(self) -> dict[str, str]:
        """What a run's environment says of it; endpoint and encryption stand in conf."""
        return {
            "AWS_ACCESS_KEY_ID": WHO,
            "AWS_SECRET_ACCESS_KEY": WHO,
            "AWS_REGION": "eu-central-1",
            # Nobody may ask a machine for its role: that address isn't loopback.
            "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def put(self, path: str, data: bytes = b"") -> None:
        request = urllib.request.Request(self.url + path, method="PUT", data=data)
        request.add_header("x-amz-server-side-encryption", "aws:kms")
        urllib.request.urlopen(request, timeout=30).close()

    def fail(self, share: float, seed: int = 1) -> None:
        """Throttle or drop this share of the requests from now on."""
        self.put("/-/faults", json.dumps({"share": share, "seed": seed}).encode())

    def request_counts(self) -> Counter[str]:
        """How many requests were served, throttled, dropped and so on."""
        with urllib.request.urlopen(f"{self.url}/-/seen", timeout=30) as answer:
            return Counter(json.load(answer))
