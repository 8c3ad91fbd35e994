"""The configuration: from a TOML file to frozen values, each key declared once; and the backoff that it asks for.

A path and the environment enter; a `Config` leaves, or a `ConfigError` with every mistake. Secrets leave as places to
read them from.
"""

from pollerd.config.accounts import AccountConfig, Auth, BasicAuth, IncomingConfig, LimitsConfig, OAuth1, TokenAuth
from pollerd.config.addresses import Listen, MaskedUrl
from pollerd.config.environment import Service
from pollerd.config.loader import load
from pollerd.config.outputs import (
    FileOutputConfig,
    OutputsConfig,
    TargetRules,
    WebhookOutputConfig,
    WebhookRouteConfig,
)
from pollerd.config.problem import ConfigError, Problem
from pollerd.config.search import SYSTEM_FILE
from pollerd.config.secret import (
    EnvSecret,
    FileSecret,
    InlineSecret,
    Origin,
    Secret,
    SecretKind,
    SecretSource,
    UnseenError,
)
from pollerd.config.tables import (
    BUILT_IN,
    BackoffConfig,
    Config,
    ControlConfig,
    StoreConfig,
)
