"""The configuration as TOML again: the effective one, and the one to start with."""

from __future__ import annotations

from collections.abc import Mapping

import tomli_w

from pollerd.base.duration import parse_duration, render_duration
from pollerd.config.problem import MASK, mask_url
from pollerd.config.secret import EnvSecret, FileSecret, InlineSecret, SecretSource
from pollerd.config.values import (
    AccountConfig,
    Auth,
    BackoffConfig,
    BasicAuth,
    Config,
    LimitsConfig,
    OAuth1,
    OutputsConfig,
    SocketOutputConfig,
    TargetRules,
    WebhookOutputConfig,
    WebhookRouteConfig,
)


def starter_toml() -> str:
    """A commented configuration that names every key and its default."""
    from importlib import resources

    return resources.files("pollerd.config").joinpath("example.toml").read_text(encoding="utf-8")


def effective_toml(config: Config) -> str:
    """Every setting in force, as TOML that loads again. Secrets kept in files or the environment stay named
    by their place; one written in the configuration itself becomes ``***``, and so does the query of a webhook's URL.
    """
    document: dict[str, object] = {
        "accounts": {name: _account(account) for name, account in config.accounts.items()},
        "backoff": _backoff(config.backoff),
        "store": {
            "path": str(config.store.path),
            "keep_finished": _duration(config.store.keep_finished),
        },
        "outputs": _outputs(config.outputs),
        "control": _given({"socket": config.control.socket and str(config.control.socket)}),
        "credit": _given(
            {
                "warn_below": config.credit.warn_below,
                "check_every": _duration(config.credit.check_every),
            }
        ),
        "log": {
            "level": config.log.level,
            "format": config.log.format,
            "show_msisdn": config.log.show_msisdn,
        },
    }
    for name, table in (("metrics", config.metrics), ("web", config.web)):
        if table is not None:
            document[name] = {"listen": str(table.listen)}
    if config.sources.sqlite:
        document["sources"] = {
            "sqlite": [
                {"path": str(source.path), "query": source.query, "every": _duration(source.every)}
                for source in config.sources.sqlite
            ]
        }
    return tomli_w.dumps(document)


def _given(values: Mapping[str, object]) -> dict[str, object]:
    """TOML has no null: what is not set is left away."""
    return {key: value for key, value in values.items() if value is not None}


def _duration(seconds: float) -> str | float:
    text = render_duration(seconds)
    return text if parse_duration(text) == seconds else seconds


def _account(account: AccountConfig) -> dict[str, object]:
    return _given(
        {
            "base_url": account.base_url,
            **_auth(account.auth),
            "proxy": account.proxy and str(account.proxy),
            "ca_file": account.ca_file and str(account.ca_file),
            "overdue_after": None if account.overdue_after is None else _duration(account.overdue_after),
            "limits": _limits(account.limits),
        }
    )


def _auth(auth: Auth) -> dict[str, object]:
    if isinstance(auth, BasicAuth):
        return {"auth": "basic", "username": auth.username, **_secret("password", auth.source)}
    if isinstance(auth, OAuth1):
        return {"auth": "oauth1", "key": auth.key, **_secret("secret", auth.source)}
    return {"auth": "token", **_secret("token", auth.source)}


def _secret(name: str, source: SecretSource | None) -> dict[str, object]:
    if isinstance(source, FileSecret):
        return {f"{name}_file": str(source.path)}
    if isinstance(source, EnvSecret):
        return {f"{name}_env": source.variable}
    return {name: MASK} if isinstance(source, InlineSecret) else {}


def _limits(limits: LimitsConfig) -> dict[str, object]:
    return {
        "requests_per_second": limits.requests_per_second,
        "max_connections": limits.max_connections,
        "timeout": _duration(limits.timeout),
    }


def _backoff(backoff: BackoffConfig) -> dict[str, object]:
    first = backoff.first_poll_after
    return _given(
        {
            "policy": backoff.policy,
            "polls_per_message": backoff.polls_per_message,
            "factor": backoff.factor,
            "first_poll_after": None if first is None else _duration(first),
            "min_interval": _duration(backoff.min_interval),
            "max_interval": _duration(backoff.max_interval),
            "not_found_grace": _duration(backoff.not_found_grace),
            "scheduled_horizon": _duration(backoff.scheduled_horizon),
            "give_up_after": _duration(backoff.give_up_after),
        }
    )


def _outputs(outputs: OutputsConfig) -> dict[str, object]:
    sqlite = [
        {"path": str(output.path), "statement": output.statement, **_rules(output.rules)} for output in outputs.sqlite
    ]
    return _given(
        {
            "file": outputs.file and {"path": str(outputs.file.path)},
            "socket": outputs.socket and _socket(outputs.socket),
            "webhook": outputs.webhook and _webhook(outputs.webhook),
            "exec": outputs.exec and {"command": list(outputs.exec.command)},
            "sqlite": sqlite or None,
        }
    )


def _rules(rules: TargetRules) -> dict[str, object]:
    return _given(
        {
            "no_row": rules.no_row,
            "retry_after": [_duration(seconds) for seconds in rules.retry_after],
            "userref_prefix": rules.userref_prefix,
            "account": rules.account,
        }
    )


def _socket(output: SocketOutputConfig) -> dict[str, object]:
    return {"path": str(output.path), "mode": f"{output.mode:04o}"}


def _webhook(output: WebhookOutputConfig) -> dict[str, object]:
    return _given(
        {
            "url": mask_url(output.url),
            **_secret("secret", output.secret),
            "all_events": output.all_events,
            "allow_remote": output.allow_remote,
            "retry_after": [_duration(seconds) for seconds in output.retry_after],
            "routes": [_route(route) for route in output.routes] or None,
        }
    )


def _route(route: WebhookRouteConfig) -> dict[str, object]:
    return _given(
        {
            "url": mask_url(route.url),
            "userref_prefix": route.userref_prefix,
            "account": route.account,
            **_secret("secret", route.secret),
        }
    )
