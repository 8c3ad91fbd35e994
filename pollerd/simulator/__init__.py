"""A faithful GatewayAPI over real HTTP, for the demo, for users' own trials and for the tests.

Options and requests enter; the vendor's answers and a record of the truth leave. Knows no other room.
"""

from pollerd.simulator.config import (
    DEMO_CREDENTIAL,
    TEXT_MARKER,
    AnswerStyle,
    Credentials,
    InboxStyle,
    Population,
    SimulatorConfig,
)
from pollerd.simulator.fate import FINAL_STATES, Mix, Step
from pollerd.simulator.faults import KINDS, Fault, parse_fault
from pollerd.simulator.options import SIMULATE_OPTIONS, SimulateOption, config_from_options
from pollerd.simulator.records import ChangeRecord, MessageRecord, RecipientRecord
from pollerd.simulator.server import Simulator, serve
from pollerd.simulator.stats import StatsRecord
from pollerd.simulator.traffic import Traffic, TrafficConfig, over_http, through
from pollerd.simulator.wire import SendRecipient, SendRequest

__all__ = [
    "DEMO_CREDENTIAL",
    "FINAL_STATES",
    "KINDS",
    "SIMULATE_OPTIONS",
    "TEXT_MARKER",
    "AnswerStyle",
    "ChangeRecord",
    "Credentials",
    "Fault",
    "InboxStyle",
    "MessageRecord",
    "Mix",
    "Population",
    "RecipientRecord",
    "SendRecipient",
    "SendRequest",
    "SimulateOption",
    "Simulator",
    "SimulatorConfig",
    "StatsRecord",
    "Step",
    "Traffic",
    "TrafficConfig",
    "config_from_options",
    "over_http",
    "parse_fault",
    "serve",
    "through",
]
