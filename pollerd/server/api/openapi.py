"""The OpenAPI document of the control socket. Schemas come from the types that are answered."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from pollerd.core import event as events
from pollerd.core import particulars
from pollerd.core.instants import EARLIEST, LATEST
from pollerd.core.model import FILTERS, MAX_MESSAGE_ID, Priority
from pollerd.server.api.documents import (
    ForgottenDocument,
    GapDocument,
    HealthDocument,
    MessagesDocument,
    PersonalDataDocument,
    ProofDocument,
    ResumedDocument,
    RetriedDocument,
    TrackedDocument,
)
from pollerd.server.api.messages import HIGHEST_MSISDN, LIMIT, MOST_RESULTS, NETWORK, WAIT_MOST
from pollerd.server.api.stream import ENDLESS, HIGHEST, LAST, NDJSON
from pollerd.server.refusals import ErrorDocument
from pollerd.status.document import StatusDocument
from pollerd.status.message import MessageDocument

_REF: Final = "#/components/schemas/{name}"
_DOCUMENTS: Final = (
    TrackedDocument,
    MessagesDocument,
    MessageDocument,
    ProofDocument,
    ResumedDocument,
    RetriedDocument,
    ForgottenDocument,
    PersonalDataDocument,
    StatusDocument,
    HealthDocument,
    GapDocument,
    ErrorDocument,
)
_ERRORS: Final = {
    400: "The path, the query or the body cannot be understood.",
    404: "The message is not followed, or the account not configured.",
    409: "The message has ended already, its account is not configured, or the account is not held for `refusing`.",
    413: "The body is larger than 4 MiB.",
    503: "The daemon does not move, the database cannot be used for now, or as many are connected as there may be.",
}
_ID: Final = {"type": "integer", "minimum": 1, "maximum": MAX_MESSAGE_ID}
_ID_PARAMETER: Final = {"name": "id", "in": "path", "required": True, "schema": _ID, "description": "The message's id."}
_TIME: Final = {"type": ["number", "string"], "minimum": EARLIEST, "exclusiveMaximum": LATEST}
_MSISDN: Final = {"type": "integer", "minimum": 1, "maximum": HIGHEST_MSISDN}
_NETWORK: Final = {"type": "string", "pattern": f"^({NETWORK.pattern})$"}
_WAIT: Final = {"type": "integer", "minimum": 0, "maximum": WAIT_MOST, "default": 0}
_WAITING: Final = (
    "Answer when the message has ended, when so many seconds are over, or when the daemon stops: with the message as "
    "it is then."
)
_HANDED: Final = {
    "description": "Ids, the send call's own answer, or messages with what is known of them.",
    "type": ["object", "array"],
    "properties": {
        "ids": {"type": "array", "items": _ID},
        "id": _ID,
        "account": {"type": "string", "description": "The account that sent them; needed only when there are several."},
        "userref": {"type": "string", "maxLength": 1024, "description": "Your own reference, given back with events."},
        "sent_at": {**_TIME, "description": "UNIX seconds, or RFC 3339 with its zone; default: now."},
        "sendtime": {
            **_TIME,
            "description": "When they are to be sent, as in the send call: UNIX seconds, or RFC 3339 with its zone; "
            "default: at once.",
        },
        "priority": {
            "enum": list(Priority.__members__),
            "description": "How urgent they are: what is more urgent is polled first; default: as the gateway says.",
        },
        "overdue_after": {
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": particulars.LONGEST_OVERDUE_AFTER,
            "description": "Without a final state so long after sending, `message.overdue` is reported: seconds or a "
            'duration such as "10m", 0: never; default: as the account has it.',
        },
    },
    "items": {**_ID, "type": ["integer", "string", "object"]},
}


@cache
def document(version: str) -> dict[str, Any]:
    """The document; `version` is pollerd's."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pollerd control socket",
            "version": version,
            "description": "HTTP over the Unix socket `[control] socket`; whoever may connect may do all of this.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "http://localhost", "description": "curl --unix-socket PATH http://localhost/..."}],
        "paths": _paths(),
        "components": {"schemas": _schemas()},
    }


def _paths() -> dict[str, Any]:
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    anything = {"content": {"application/json": {"schema": {"type": "object"}}}}
    one = [_ID_PARAMETER]
    account = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "The account's name.",
    }
    return {
        "/messages": {
            "post": {
                **_operation("handOver", "Follow messages.", "TrackedDocument", 400, 413, 503),
                "requestBody": {"required": True, "content": {"application/json": {"schema": _HANDED}}},
            },
            "get": {
                **_operation("listMessages", "List messages, page by page.", "MessagesDocument", 400),
                "parameters": _list_parameters(),
            },
        },
        "/messages/{id}": {
            "get": {
                **_operation("showMessage", "One message, at once or when it ends.", "MessageDocument", 400, 404, 503),
                "parameters": [*one, _query("wait", _WAIT, _WAITING)],
            },
            "delete": {
                **_operation("untrack", "Stop following a message.", "MessageDocument", 400, 404, 409, 503),
                "parameters": one,
            },
        },
        "/messages/{id}/poll": {
            "post": {
                **_operation("pollNow", "Poll ahead of schedule.", "MessageDocument", 400, 404, 409, 503),
                "parameters": one,
            }
        },
        "/messages/{id}/retry": {
            "post": {
                **_operation("retry", "Take up again what was given up.", "MessageDocument", 400, 404, 409, 503),
                "parameters": one,
            }
        },
        "/accounts/{name}/resume": {
            "post": {
                **_operation(
                    "resume",
                    "End a hold for `refusing`: what is refused from then on is believed.",
                    "ResumedDocument",
                    400,
                    404,
                    409,
                    503,
                ),
                "parameters": [account],
            }
        },
        "/accounts/{name}/secret": {
            "post": {
                **_operation(
                    "proveSecret",
                    "Whether the daemon uses the same secret.",
                    "ProofDocument",
                    400,
                    404,
                ),
                "parameters": [
                    account,
                    _query("nonce", {"type": "string"}, "Bytes of your choice, hexadecimal."),
                    _query("proof", {"type": "string"}, "HMAC-SHA256 of nonce with the secret as key, hexadecimal."),
                ],
            }
        },
        "/undelivered/retry": {
            "post": _operation(
                "retryUndelivered",
                "Take up again the events that outputs have parked.",
                "RetriedDocument",
                400,
                503,
            )
        },
        "/backoff/forget": {
            "post": {
                **_operation("forget", "Forget what the backoff learned.", "ForgottenDocument", 400, 503),
                "parameters": [_query("network", _NETWORK, "One network, such as 238/01; not given: all of them.")],
            }
        },
        "/personal-data": {
            "get": _about("known", "What is known of a telephone number, or of a message."),
            "delete": _about("erase", "Remove it; its events become `event.forgotten`."),
        },
        "/events": {"get": _events_operation()},
        "/status": {"get": _operation("status", "The state of the whole daemon.", "StatusDocument", 400)},
        "/metrics": {"get": _operation("metrics", "Metrics for Prometheus.", text, 400)},
        "/healthz": {"get": _operation("health", "200 while all that could move moves.", "HealthDocument", 400, 503)},
        "/openapi.json": {"get": _operation("openapi", "This document.", anything, 400)},
    }


def _operation(name: str, summary: str, good: str | dict[str, Any], *errors: int) -> dict[str, Any]:
    done = good if isinstance(good, dict) else _json(good)
    answers = {"200": {"description": "Done.", **done}}
    if name == "handOver":
        answers["422"] = {"description": "None of it can be followed.", **_json("TrackedDocument")}
    for status in errors:
        answers[str(status)] = {"description": _ERRORS[status], **_json("ErrorDocument")}
    return {"operationId": name, "summary": summary, "responses": answers}


def _json(name: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}}


def _list_parameters() -> list[dict[str, Any]]:
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_RESULTS, "default": LIMIT}
    return [
        _query("state", {"type": "string", "enum": list(FILTERS)}, "Only messages in this state."),
        _query("limit", limit, "At most so many."),
        _query("after", {"type": "string"}, "The `next` of the page before."),
    ]


def _query(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _about(name: str, summary: str) -> dict[str, Any]:
    return {
        **_operation(name, summary, "PersonalDataDocument", 400, 503),
        "parameters": [
            _query("id", _ID, "A message; give this or `msisdn`."),
            _query("msisdn", _MSISDN, "A telephone number; give this or `id`."),
        ],
    }


def _events_operation() -> dict[str, Any]:
    lines = {
        "description": "Each line is one of these.",
        "oneOf": [{"$ref": _REF.format(name=name)} for name in (*_events(), "GapDocument")],
    }
    made = _operation("events", "The event log as NDJSON.", {"content": {NDJSON: {"schema": lines}}}, 400, 503)
    after = {"oneOf": [{"type": "integer", "minimum": 0, "maximum": HIGHEST}, {"const": "now"}]}
    flag = {"type": "string", "enum": ["1", "0", "true", "false"], "default": "0"}
    most = {"type": "integer", "minimum": 1, "maximum": ENDLESS}
    made["responses"]["200"]["headers"] = {
        LAST: {"description": "The highest seq given when the answer began.", "schema": {"type": "integer"}}
    }
    made["parameters"] = [
        _query("after", after, "Only events with a larger seq; `now`: only new ones. Default: all that are kept."),
        _query("follow", flag, "1: keep the answer open and send events as they come."),
        _query("limit", most, "At most so many events."),
        _query("id", _ID, "Only events of this message."),
        _query("type", {"type": "string", "enum": list(events.TYPES)}, "Only events of this type."),
    ]
    return made


@cache
def _events() -> dict[str, Any]:
    found: dict[str, Any] = events.json_schema()["$defs"]
    return found


def _schemas() -> dict[str, Any]:
    _, made = msgspec.json.schema_components(_DOCUMENTS, ref_template=_REF)
    return {**made, **_events()}
