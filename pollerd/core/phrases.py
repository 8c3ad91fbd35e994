"""What the codes of events, of the log and of the database mean in words: each said once, for whoever shows it.

A code is for programs and never changes; what stands here is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pollerd.core.model import GiveUpReason, HoldReason


class HoldPhrase(NamedTuple):
    """A hold in words: `what` the gateway did, the `step` that a person takes, and what happens `meanwhile`.

    In `step`, `{renewal}` is how another secret is taken up, and `{account}` the account's name.
    """

    what: str
    step: str
    meanwhile: str = "polling goes on by itself"


HOLDS: Final[Mapping[str, HoldPhrase]] = {
    HoldReason.UNAUTHORIZED: HoldPhrase("the credentials were not accepted", "{renewal}"),
    HoldReason.FORBIDDEN: HoldPhrase(
        "the gateway allowed no access from this address or with this key",
        "give the key its rights, or this machine's address its place in the account's list of allowed ones",
    ),
    HoldReason.THROTTLED: HoldPhrase(
        "the gateway limited the rate of requests", "lower requests_per_second, or find out who else uses the account"
    ),
    HoldReason.UNREACHABLE: HoldPhrase("the gateway could not be reached", "check the network, DNS and the proxy"),
    HoldReason.SERVER_ERRORS: HoldPhrase(
        "the gateway answered with errors of its own", "if it lasts, ask the gateway's support"
    ),
    HoldReason.REFUSING: HoldPhrase(
        "the gateway refused every message, also those that it answered before",
        "ask the gateway's support; if the messages really are gone there, end the hold with: "
        "pollerd retry --resume {account}",
        "no message is given up, and polling goes on with the next answer",
    ),
}

GIVE_UPS: Final[Mapping[str, str]] = {
    GiveUpReason.DEADLINE: "no final state in time",
    GiveUpReason.NOT_FOUND: "the gateway does not know it",
    GiveUpReason.REJECTED_REQUEST: "the gateway refused to answer for it",
    GiveUpReason.UNTRACKED: "untracked on request",
}


def label(code: str) -> str:
    """A code as a label: `not_found` is `not found`."""
    return code.replace("_", " ")


def hold(reason: str, detail: str | None = "") -> str:
    """A hold by its label, with what the gateway said."""
    return f"{label(reason)} ({detail.rstrip('.')})" if detail else label(reason)


def hold_cause(reason: str) -> str:
    """What the gateway did. A reason of a newer version is its label."""
    found = HOLDS.get(reason)
    return label(reason) if found is None else found.what


def hold_step(reason: str, account: str, renewal: str) -> str:
    """What a person does about a hold; empty for a reason of a newer version. See HoldPhrase for `renewal`."""
    found = HOLDS.get(reason)
    return "" if found is None else found.step.format(account=account, renewal=renewal)


def hold_advice(reason: str, account: str, renewal: str) -> str | None:
    """What a person does about a hold, and what happens by itself; None for a reason of a newer version."""
    step = hold_step(reason, account, renewal)
    return f"{step}; {HOLDS[reason].meanwhile}. See pollerd doctor" if step else None


def give_up(reason: str) -> str:
    """Why polling of a message ended: the label, and what it means."""
    meaning = GIVE_UPS.get(reason)
    return label(reason) if meaning is None else f"{label(reason)} ({meaning})"


def answer(kind: str) -> str:
    """An answer, a refusal or a failure by its kind (`Message.last_answer`, `Trouble.kind`)."""
    match kind:
        case "200":
            return "answered"
        case "404":
            return "404, not known to the gateway (yet)"
        case _ if kind.startswith("http_"):
            return f"HTTP {kind.removeprefix('http_')}"
        case _:
            return label(kind)
