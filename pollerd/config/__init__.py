"""The configuration: TOML, environment and secrets enter; frozen values leave, or every mistake at once."""

from pollerd.base.duration import parse_duration, render_duration
from pollerd.config.accounts import AccountConfig, Auth, BasicAuth, LimitsConfig, OAuth1, TokenAuth
from pollerd.config.addresses import Listen, MaskedUrl
from pollerd.config.environment import Service
from pollerd.config.loader import load
from pollerd.config.outputs import (
    ExecOutputConfig,
    FileOutputConfig,
    OutputsConfig,
    SocketOutputConfig,
    SourcesConfig,
    SqliteOutputConfig,
    SqliteSourceConfig,
    TargetRules,
    WebhookOutputConfig,
    WebhookRouteConfig,
)
from pollerd.config.problem import ConfigError, Problem
from pollerd.config.search import SYSTEM_FILE
from pollerd.config.secret import (
    AbsentSecret,
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
    CreditConfig,
    LogConfig,
    MetricsConfig,
    StoreConfig,
    WebConfig,
)

__all__ = [
    "BUILT_IN",
    "SYSTEM_FILE",
    "AbsentSecret",
    "AccountConfig",
    "Auth",
    "BackoffConfig",
    "BasicAuth",
    "Config",
    "ConfigError",
    "ControlConfig",
    "CreditConfig",
    "EnvSecret",
    "ExecOutputConfig",
    "FileOutputConfig",
    "FileSecret",
    "InlineSecret",
    "LimitsConfig",
    "Listen",
    "LogConfig",
    "MaskedUrl",
    "MetricsConfig",
    "OAuth1",
    "Origin",
    "OutputsConfig",
    "Problem",
    "Secret",
    "SecretKind",
    "SecretSource",
    "Service",
    "SocketOutputConfig",
    "SourcesConfig",
    "SqliteOutputConfig",
    "SqliteSourceConfig",
    "StoreConfig",
    "TargetRules",
    "TokenAuth",
    "UnseenError",
    "WebConfig",
    "WebhookOutputConfig",
    "WebhookRouteConfig",
    "load",
    "parse_duration",
    "render_duration",
]
