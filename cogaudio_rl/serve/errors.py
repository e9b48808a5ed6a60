"""The one error that a client is told about, in the form of the OpenAI API."""

from __future__ import annotations

from typing import Any

_TYPES = {429: "rate_limit_error", 403: "permission_error"}


class ApiError(Exception):
    """A refusal. Its message is sent as it is: it must name no path, key or library."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The JSON object that answers the request."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }
