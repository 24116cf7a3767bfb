"""What FastAPI answers where a request goes wrong."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from bench.runner.server.errors import ApiError, Gone


def add_errors(app: FastAPI) -> None:
    """Answer every error in OpenAI's form."""

    def reply(error: ApiError) -> JSONResponse:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(ApiError)
    async def ours(request: Request, error: ApiError) -> JSONResponse:
        return reply(error)

    @app.exception_handler(Gone)
    async def nobody(request: Request, error: Gone) -> Response:
        return Response(status_code=499)  # as nginx has it; it is only counted

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
        message = str(first["msg"]).removeprefix("Value error, ")
        return reply(ApiError(400, f"{where}: {message}" if where else message, param=where or None))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return reply(ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}"))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return reply(ApiError(500, f"{type(error).__name__}: {error}", kind="server_error"))
