"""Who may ask: only who typed this address. Against DNS rebinding, requests from other sites, and framing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from pollerd.base.errors import PollerdError, StoreUnavailableError
from pollerd.config import Listen
from pollerd.server.hosts import host_allowed

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Painter = Callable[[int, str], str]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guarding(listen: Listen, page: Painter) -> Middleware:
    """A middleware that lets only such requests in, gives every answer its headers and every error a page."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = _refused(request, listen, page) or await _answered(request, handler, page)
        response.headers.update(HEADERS)
        return response

    return guard


def _refused(request: web.Request, listen: Listen, page: Painter) -> web.Response | None:
    if request.method not in ("GET", "HEAD"):
        return _error(page, 405, "This page is only for reading.", {"Allow": "GET, HEAD"})
    if not host_allowed(request.headers.get("Host", ""), listen):
        text = (
            "This name is not the status page's: open it by its address, such as http://localhost or http://127.0.0.1."
        )
        return _error(page, 421, text)
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site == "cross-site" or (site == "same-site" and request.headers.get("Sec-Fetch-Mode") != "navigate"):
        return _error(page, 403, "Another site asked for this page. Type its address yourself.")
    return None


async def _answered(request: web.Request, handler: Handler, page: Painter) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(page, error.status, error.text or error.reason)
    except StoreUnavailableError as error:
        return _error(page, 503, f"{error}. Try again later.")
    except PollerdError as error:
        return _error(page, 500, str(error))
    except ConnectionError:
        raise
    except Exception:
        # A defect in one page must not take the polling down with it.
        log.exception("the status page %s failed", request.path, extra={"event": "web_error"})
        return _error(page, 500, "The daemon's log says what went wrong.")


def _error(page: Painter, status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=page(status, text), content_type="text/html", headers=headers)
