"""The command's options as data."""

import pytest

from pollerd.simulator import DEMO_CREDENTIAL, SIMULATE_OPTIONS, Fault, InboxStyle, Mix, config_from_options


def test_no_option_gives_the_defaults() -> None:
    config = config_from_options({})
    assert (config.host, config.port, config.speed, config.seed) == ("127.0.0.1", 8600, 1.0, 1)
    assert config.credentials.tokens == {DEMO_CREDENTIAL}
    assert config.population.mix == Mix()
    assert config.connection_limit == 40


def test_every_option_reaches_the_configuration() -> None:
    values: dict[str, object] = {
        "host": "127.0.0.2",
        "port": 0,
        "speed": 60.0,
        "seed": 9,
        "token": ("a", "b"),
        "user": ("u:p:q",),
        "oauth": ("k:s",),
        "anyone": True,
        "any_id": True,
        "ids": ("5-9", "12"),
        "recipients": "1-3",
        "mix": "delivered=3, never=1",
        "validity": 60.0,
        "tail": 0.1,
        "visibility": 0.0,
        "shape": "alternating",
        "scheduled": "shown",
        "late_transient": 0.5,
        "read": 0.25,
        "shuffle": True,
        "null_times": True,
        "fault": ("500:0.5", "reset:next=1"),
        "connection_limit": 3,
        "over_limit": "503",
        "keep_alive": 4.0,
        "requests_per_second": 12.5,
        "credit": 7.0,
        "replies": 0.75,
        "incoming_order": "mixed",
        "incoming_zone": -7.0,
    }
    assert set(values) == {option.key for option in SIMULATE_OPTIONS}
    config = config_from_options(values)
    population, answers, credentials = config.population, config.answers, config.credentials
    assert (config.host, config.port, config.speed, config.seed) == ("127.0.0.2", 0, 60.0, 9)
    assert credentials.tokens == {"a", "b"}
    assert credentials.users == (("u", "p:q"),)
    assert credentials.oauth == (("k", "s"),)
    assert credentials.anyone
    assert population.any_id
    assert population.id_ranges == ((5, 9), (12, 12))
    assert population.recipients == (1, 3)
    assert (population.mix.delivered, population.mix.never, population.mix.rejected) == (3, 1, 0)
    assert (population.validity, population.tail, population.visibility_median) == (60.0, 0.1, 0.0)
    assert (answers.shape, answers.scheduled) == ("alternating", "shown")
    assert (answers.late_transient, answers.read) == (0.5, 0.25)
    assert answers.shuffle
    assert answers.null_times
    assert config.inbox == InboxStyle(order="mixed", zone=-7.0, replies=0.75)
    assert config.faults == (Fault(kind="500", probability=0.5), Fault(kind="reset", times=1))
    assert (config.connection_limit, config.over_limit, config.keep_alive) == (3, "503", 4.0)
    assert (config.requests_per_second, config.credit) == (12.5, 7.0)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"colour": "red"}, "unknown simulator options: colour"),
        ({"mix": "delivered=1,often=2"}, "often=2.*names are delivered"),
        ({"mix": "delivered=much"}, "delivered=much"),
        ({"ids": ("a-b",)}, "ids is 'a-b'"),
        ({"recipients": "0"}, "1 to 10000"),
        ({"recipients": "5-2"}, "rising"),
        ({"shape": "round"}, "'round' is not one of list, object"),
        ({"speed": "fast"}, "speed is 'fast'"),
        ({"speed": 0.0}, "speed is 0.0; give a number above 0"),
        ({"speed": float("inf")}, "speed is inf; give a number"),
        ({"tail": float("nan")}, "tail is nan; give a number"),
        ({"requests_per_second": -1.0}, "requests_per_second is -1.0; give a number above 0"),
        ({"incoming_zone": 30.0}, "zone must be hours between -24 and 24"),
        ({"replies": 2.0}, "replies a share from 0 to 1"),
        ({"fault": ("500:2",)}, "between 0 and 1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        config_from_options(values)


@pytest.mark.parametrize("key", ["user", "oauth"])
def test_a_malformed_secret_is_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="NAME:SECRET") as caught:
        config_from_options({key: ("hunter2",)})
    assert "hunter2" not in str(caught.value)


def test_secrets_do_not_show_in_the_representation() -> None:
    config = config_from_options({"user": ("u:hunter2",), "oauth": ("k:hunter3",), "token": ("hunter4",)})
    assert "hunter" not in repr(config)
