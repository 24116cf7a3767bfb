"""Errors of requests, in OpenAI's form."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """What is wrong with a request, and the HTTP status that says so.

    kind, code: `type` and `code` of OpenAI's error object. param: the field that is at fault, if it is one.
    retry_after_s: when to try again, for the statuses 429 and 503.
    """

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None,
        param: str | None = None, retry_after_s: int | None = None,
    ):  # fmt: skip
        super().__init__(message)
        self.status, self.kind, self.code, self.param = status, kind, code, param
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        return {
            "error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        }

    @property
    def headers(self) -> dict[str, str]:
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def failed(reason: str) -> ApiError:
    """The error of a search that failed. reason: `Outcome.error`, which begins with the error's type."""
    if reason.startswith("ContextError"):
        return ApiError(400, reason, code="context_length_exceeded")
    return ApiError(500, reason, kind="server_error")


class Gone(Exception):
    """The client closed the connection."""
