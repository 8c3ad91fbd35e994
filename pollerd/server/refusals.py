"""What is refused, and how it is said: `{"error": {"reason": ..., "message": ...}}` with a fitting status."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from pollerd.base.errors import DurabilityError, StoreDoubtError, StoreError, StoreUnavailableError, UnavailableError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON: Final = "application/json"
_ALL_ROUTES: Final = "GET /openapi.json lists what there is"
_REASONS: Final = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_TEXTS: Final = {
    404: "nothing is at {path}; {served}",
    405: "{method} is not possible at {path}; the Allow header says what is",
    413: "the request's body is too large; send the ids in several requests",
}


class ErrorBody(msgspec.Struct, frozen=True):
    """`reason` is a word for programs, `message` a sentence for people."""

    reason: str
    message: str


class ErrorDocument(msgspec.Struct, frozen=True):
    """What every refused request is answered."""

    error: ErrorBody


class RequestError(Exception):
    """A request that cannot be done: answered with `status`."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def answer(value: object, status: int = 200) -> web.Response:
    """A JSON answer with a newline at its end, for those who read it in a terminal."""
    return web.Response(status=status, body=msgspec.json.encode(value) + b"\n", content_type=JSON)


def refusal(status: int, reason: str, message: str) -> web.Response:
    """The answer to a request that is refused."""
    return answer(ErrorDocument(ErrorBody(reason, message)), status)


def in_words(_status: int, reason: str, message: str) -> tuple[str, bytes]:
    """Content type and body of a refusal, for those whose request reaches no handler."""
    return JSON, msgspec.json.encode(ErrorDocument(ErrorBody(reason, message))) + b"\n"


def explaining(fatal: Callable[[DurabilityError], None], served: str = _ALL_ROUTES) -> Middleware:
    """A middleware that turns every error into such an answer. `fatal` is called when the disk cannot be trusted;
    `served` says what there is instead of a path that there is not.
    """

    @web.middleware
    async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestError as error:
            return refusal(error.status, error.reason, str(error))
        except web.HTTPException as error:
            return _in_json(request, error, served)
        except DurabilityError as error:
            fatal(error)
            return refusal(500, "database_failed", str(error))
        except StoreDoubtError as error:
            return refusal(503, "outcome_unknown", str(error))
        except StoreUnavailableError as error:
            return refusal(503, "database_unavailable", f"{error}; try again later")
        except (StoreError, UnavailableError) as error:
            return refusal(500, "database_failed", str(error))
        except ConnectionError:
            raise
        except Exception:
            # A defect in one request must not take the polling down with it.
            log.exception("%s %s failed", request.method, request.path, extra={"event": "control_error"})
            return refusal(500, "internal", "the daemon's log says what went wrong")

    return explain


def _in_json(request: web.Request, error: web.HTTPException, served: str) -> web.Response:
    text = _TEXTS.get(error.status, error.reason).format(path=request.path, method=request.method, served=served)
    made = refusal(error.status, _REASONS.get(error.status, "bad_request"), text)
    if isinstance(error, web.HTTPMethodNotAllowed):
        made.headers["Allow"] = ",".join(sorted(error.allowed_methods))
    return made
