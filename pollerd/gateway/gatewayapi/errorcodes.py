"""Error codes of recipients (`dsnerrorcode`) and of refused requests, in words, with what an operator can do.

Source: the vendor's tables of delivery error codes and of API error codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

_IN_DETAIL: Final = re.compile(r"\(0x([0-9A-F]{4})\)")


class Meaning(NamedTuple):
    """What a code says, and what to do about it where there is something to do: one or two sentences."""

    words: str
    advice: str | None = None


_AGAIN: Final = "Send it again later; when many messages end this way, ask the gateway's support."
_NUMBER: Final = "Check the number with the person who gave it, and stop sending to it when it is wrong."
_BARRED: Final = "The subscriber has to ask the operator to allow such messages."
_LATER: Final = "Nothing to do: the phone is off or out of reach. Send again later if it still matters."
_SUPPORT: Final = "Ask the gateway's support, with the message's id."
_FULL: Final = "The subscriber has to delete messages on the phone; then send again."
_PHONE: Final = "This phone or SIM card cannot take SMS; use another number."
_FILTER: Final = "The network filters it: check sender, text and links, then ask the gateway's support."
_SENDER: Final = "Use a sender that the destination country allows; some need it registered first."
_TEXT: Final = "Change the text; the class, the encoding and the length of the message matter as well."
_REQUEST: Final = "The request to send is at fault: correct it in the sending program."
_CREDIT: Final = "For a charged message, the subscriber has to top up; else look at your account's balance."
_CLASS: Final = "Have the gateway's support set the message class up, or send with another class."
_LINK: Final = "Have the link allowed for the account at the gateway, or take it out of the text."
_CONTENT: Final = "Change the text; ask the gateway's support why it was stopped."
DELIVERY: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        # HLR: the subscriber's home network
        0x1001: Meaning("the network gave no reason", _AGAIN),
        0x1010: Meaning("unknown subscriber: the number is not in use", _NUMBER),
        0x1011: Meaning("call barred: the subscriber may not receive this", _BARRED),
        0x1012: Meaning("the subscriber's contract has no SMS", _BARRED),
        0x1013: Meaning("absent subscriber: the phone is off or out of reach", _LATER),
        0x1014: Meaning("the subscriber's network does not support this", _SUPPORT),
        0x1015: Meaning("the operator's subscriber database (HLR) failed", _AGAIN),
        0x1016: Meaning("the operator's subscriber database (HLR) got a value that it did not expect", _SUPPORT),
        0x1017: Meaning("the operator's subscriber database (HLR) missed a value", _SUPPORT),
        0x1018: Meaning("memory capacity exceeded: the phone can store no more messages", _FULL),
        0x1019: Meaning("the phone cannot be reached", _LATER),
        0x101A: Meaning("the visited network's subscriber database (VLR) failed", _AGAIN),
        0x101B: Meaning("the operator's subscriber database (HLR) has an internal error", _AGAIN),
        # MSC: the network that the phone is in
        0x1020: Meaning("the visited network does not know the subscriber", _AGAIN),
        0x1021: Meaning("IMSI detached: the phone has left the network", _LATER),
        0x1022: Meaning("no page response: the phone does not answer the network", _LATER),
        0x1023: Meaning("subscriber busy: the phone is receiving another message", _AGAIN),
        0x1024: Meaning("the visited network does not support this", _SUPPORT),
        0x1025: Meaning("the visited network does not admit the subscriber", _NUMBER),
        0x1026: Meaning("the visited network does not admit the phone", _PHONE),
        0x1027: Meaning("the visited network's exchange (MSC) failed", _AGAIN),
        0x1028: Meaning("the visited network's exchange (MSC) got a value that it did not expect", _SUPPORT),
        0x1029: Meaning("the visited network's exchange (MSC) missed a value", _SUPPORT),
        0x102A: Meaning("memory capacity exceeded: the phone can store no more messages", _FULL),
        0x102B: Meaning("the phone broke the protocol", _AGAIN),
        0x102C: Meaning("the phone cannot receive SMS", _PHONE),
        0x102D: Meaning("the visited network's exchange (MSC) gave an error that is not defined", _SUPPORT),
        0x102E: Meaning("the visited network's exchange (MSC) has an internal error", _AGAIN),
        # SCREEN: filters
        0x1030: Meaning("screening block: the network filters this message", _FILTER),
        0x1031: Meaning("a filter blocks this subscriber's SIM card", _FILTER),
        0x1032: Meaning("a filter found that the message does not come from where it should", _SUPPORT),
        0x1033: Meaning("a filter blocks the sender", _SENDER),
        0x1034: Meaning("a filter blocks the destination", _FILTER),
        0x1035: Meaning("a filter blocks a word of the text", _TEXT),
        0x1036: Meaning("a filter blocks the service centre that sent it", _SUPPORT),
        0x1037: Meaning("a filter blocks it because a quota is used up", _AGAIN),
        0x1038: Meaning("a filter found the message going round in a loop", _SUPPORT),
        0x1039: Meaning("a filter blocks the message's encoding", _TEXT),
        0x103A: Meaning("a filter blocks a part of the message's header", _TEXT),
        0x103B: Meaning("the sender has barred outgoing messages", _BARRED),
        0x103C: Meaning("the subscriber has barred incoming messages", _BARRED),
        # SMSC: the service centre
        0x1040: Meaning("the service centre does not know the subscriber", _NUMBER),
        0x1041: Meaning("the service centre does not support this", _SUPPORT),
        0x1042: Meaning("the service centre failed", _AGAIN),
        0x1043: Meaning("the service centre got a value that it did not expect", _SUPPORT),
        0x1044: Meaning("the service centre missed a value", _SUPPORT),
        0x1045: Meaning("the phone broke the protocol with the service centre", _AGAIN),
        0x1046: Meaning("the service centre's address is not known", _SUPPORT),
        0x1047: Meaning("the service centre is overloaded", _AGAIN),
        0x1048: Meaning("the service centre cannot use the address", _NUMBER),
        0x1049: Meaning("the subscriber does not belong to this service centre", _SUPPORT),
        0x104A: Meaning("the service centre has an internal error", _AGAIN),
        # ROUTE: routing
        0x1050: Meaning("the gateway found no working route: internal error", _AGAIN),
        0x1051: Meaning("the number's numbering plan is not supported", _NUMBER),
        0x1052: Meaning("the number's type is not supported", _NUMBER),
        0x1053: Meaning("the message was not delivered; no reason was given", _AGAIN),
        0x1054: Meaning("no network is known for this number's prefix", _NUMBER),
        0x1055: Meaning("the SIM card is not allowed outside its home network", _SUPPORT),
        0x1056: Meaning("the SIM card's home network could not be found out", _AGAIN),
        0x1057: Meaning("the kind of the destination network is not known", _SUPPORT),
        # ESME: requests between gateway and network
        0x1060: Meaning("the destination address is not valid", _NUMBER),
        0x1061: Meaning("the destination's numbering plan is not valid", _NUMBER),
        0x1062: Meaning("the destination's type of number is not valid", _NUMBER),
        0x1063: Meaning("the flag of the destination is not valid", _REQUEST),
        0x1064: Meaning("the number of destinations is not valid", _REQUEST),
        0x1065: Meaning("the sender is not valid", _SENDER),
        0x1066: Meaning("the sender's numbering plan is not valid", _SENDER),
        0x1067: Meaning("the sender's type of number is not valid", _SENDER),
        0x1068: Meaning("the receiving system refuses it for good", _SUPPORT),
        0x1069: Meaning("the receiving system rejects it", _SUPPORT),
        0x106A: Meaning("the receiving system has trouble for now", _AGAIN),
        0x106B: Meaning("a command between gateway and network has a wrong length", _SUPPORT),
        0x106C: Meaning("the service type is not valid", _REQUEST),
        0x106D: Meaning("the operation is not valid", _REQUEST),
        0x106E: Meaning("the operation is not allowed", _SUPPORT),
        0x106F: Meaning("a parameter is not valid", _REQUEST),
        0x1070: Meaning("a parameter is not allowed", _REQUEST),
        0x1071: Meaning("a parameter has a wrong length", _REQUEST),
        0x1072: Meaning("an optional parameter is not valid", _REQUEST),
        0x1073: Meaning("an optional parameter is missing", _REQUEST),
        0x1074: Meaning("the validity period is not valid", _REQUEST),
        0x1075: Meaning("the time to send at is not valid", _REQUEST),
        0x1076: Meaning("the distribution list is not valid", _REQUEST),
        0x1077: Meaning("the message class is not valid", _REQUEST),
        0x1078: Meaning("the message's length is not valid", _TEXT),
        0x1079: Meaning("the message's reference is not valid", _SUPPORT),
        0x107A: Meaning("the number of messages is not valid", _REQUEST),
        0x107B: Meaning("the predefined message is not valid", _REQUEST),
        0x107C: Meaning("the priority is not valid", _REQUEST),
        0x107D: Meaning("the flag to replace a message is not valid", _REQUEST),
        0x107E: Meaning("the request to the network failed", _AGAIN),
        0x107F: Meaning("the request for a delivery report is not valid", _SUPPORT),
        0x1080: Meaning("the queue for this destination is full", _AGAIN),
        0x1081: Meaning("the network does not let the subscriber be looked up", _SUPPORT),
        0x1082: Meaning("the receiving system has an internal error or cannot find what it needs", _AGAIN),
        0x1083: Meaning("the receiving system has an error that it does not name", _SUPPORT),
        0x1084: Meaning("the subscriber's number is not valid", _NUMBER),
        0x1085: Meaning("the message is too long", _TEXT),
        0x1086: Meaning("the message could not be unpacked from the GSM alphabet", _TEXT),
        0x1087: Meaning("the message could not be converted to the IRA alphabet", _TEXT),
        # SP: the operator's charging
        0x1090: Meaning("the operator's charging has an internal error", _AGAIN),
        0x1091: Meaning("the operator's network did not answer in time", _AGAIN),
        0x1092: Meaning("the subscriber's credit is too low", _CREDIT),
        0x1093: Meaning("the operator has blocked the subscriber", _BARRED),
        0x1094: Meaning("the operator has paid the charge back", None),
        # GWAPI: the gateway itself
        0x1902: Meaning("this message class is not set up for the account", _CLASS),
        0x1903: Meaning("a link in the text is not on the account's list of allowed links", _LINK),
        0x1904: Meaning("the gateway's filter stopped the message for its content", _CONTENT),
        0x1905: Meaning("the destination does not support this sender", _SENDER),
    },
)
"""By `dsnerrorcode`: where the message ended."""

_GENERAL: Final = (
    "success",
    "unknown error",
    "refused without a reason",
    "operation not permitted",
    "input or output failed",
    "the system was shutting down",
    "too few resources",
    "permission denied",
    "an argument is not valid",
    "not available for now",
)
"""The last two digits 00 to 09 mean the same in every group of codes."""

_USER: Final = "Correct token, user name or password of the account in the configuration."
_SIGNED: Final = "Check the OAuth key and secret of the account, and this machine's clock."
_ADDRESS: Final = "Add this machine's address to the allowed ones of the account at the gateway."
_NOT_BOOKED: Final = "Have the gateway's support switch it on for the account."

REFUSALS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        0x0210: Meaning("the user name is not known", _USER),
        0x0211: Meaning("the password is wrong", _USER),
        0x0212: Meaning("this machine's IP address is not valid", _ADDRESS),
        0x0213: Meaning("this machine's IP address is not allowed", _ADDRESS),
        0x0214: Meaning("the number is blocked for a while, for the same text was sent to it", _AGAIN),
        0x0215: Meaning("the number is on the account's list of blocked numbers", _NUMBER),
        0x0216: Meaning("the account's credit is used up", "Top up the account at the gateway."),
        0x0217: Meaning("the account may not send to this country", _NOT_BOOKED),
        0x0218: Meaning("this message class does not exist", _REQUEST),
        0x0219: Meaning("e-mail is not switched on for the account", _NOT_BOOKED),
        0x021A: Meaning("lookups of numbers are not switched on for the account", _NOT_BOOKED),
        0x021B: Meaning("the phone book is not switched on for the account", _NOT_BOOKED),
        0x021C: Meaning("MMS is not switched on for the account", _NOT_BOOKED),
        0x021D: Meaning("SMS is not switched on for the account", _NOT_BOOKED),
        0x021E: Meaning("this message class is not set up for the account", _CLASS),
        0x021F: Meaning("the account may not send to this operator", _NOT_BOOKED),
        0x0220: Meaning("a parameter is not supported", _REQUEST),
        0x0221: Meaning("the method of the signature is not supported", _SIGNED),
        0x0222: Meaning("a parameter is missing", _REQUEST),
        0x0223: Meaning("the OAuth key is not known", _SIGNED),
        0x0224: Meaning("the signature is wrong", _SIGNED),
        0x0225: Meaning("the time of the signature is too old", "Set this machine's clock."),
        0x0226: Meaning("the nonce of the signature is not valid or was used before", _SIGNED),
        0x0227: Meaning("the account has no settings for push", _SUPPORT),
        0x0228: Meaning("the service has no settings for push", _SUPPORT),
        0x0229: Meaning(
            "the token is not valid", "Make a token at the gateway and put it where the account's token comes from."
        ),
        0x022A: Meaning("the account is frozen", "Ask the gateway's support why."),
        0x0310: Meaning("the message names a number twice", _REQUEST),
        0x0311: Meaning("this priority is not available", _REQUEST),
    },
)
"""By the `code` of an answer outside 2xx: why the gateway refused a request."""


def of_recipient(code: str | None) -> Meaning | None:
    """What a `dsnerrorcode` such as `0x1010` means; None for none and for an unknown one."""
    if code is None:
        return None
    try:
        number = int(code, 0)
    except ValueError:
        return None
    if number in DELIVERY:
        return DELIVERY[number]
    # Success is no error to speak of.
    return Meaning(_GENERAL[number & 0xFF]) if number > 0 and 0 < number & 0xFF < len(_GENERAL) else None


def words(code: str | None) -> str | None:
    """A `dsnerrorcode` in words; None for none and for an unknown one."""
    meaning = of_recipient(code)
    return None if meaning is None else meaning.words


def of_refusal(detail: str) -> Meaning | None:
    """What the code in the detail of a hold, such as `403 (0x0213): ...`, means; None for none and an unknown one."""
    match = _IN_DETAIL.search(detail)
    return None if match is None else REFUSALS.get(int(match[1], 16))
