"""Loaded by schemathesis: signs what goes to the webhook, by the bytes that are sent."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

import requests
import schemathesis

SECRET = bytes.fromhex(os.environ["WEBHOOK_SECRET_HEX"])


class Signed(requests.auth.AuthBase):
    """Adds the signature of the body."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign."""
        body = request.body or b""
        data = body if isinstance(body, bytes) else str(body).encode()
        request.headers["X-Signature"] = hmac.new(SECRET, data, hashlib.sha256).hexdigest()
        return request


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Sign what the webhook takes."""
    del context
    if (case.method, case.path) == ("POST", "/api/messages"):
        kwargs["auth"] = Signed()
