from __future__ import annotations

from pathlib import Path

import pytest

from clawdbot.gateway.adapters.platforms.keys import Keys, SecretRule, read_keys
from clawdbot.gateway.adapters.platforms.registry import configured, load, names, paths
from clawdbot.gateway.adapters.sender_policies import sender_policies
from clawdbot.gateway.domain.senders import SenderRule
from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.config_sections import Platforms
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.ids import Channel, Tenant

WHSEC = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = b"whsec_YW5vdGhlciBrZXkgb2YgMjQgYnl0ZXMh"


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    for account, secret in (("default", WHSEC), ("second", OTHER)):
        (tmp_path / f"standard_webhooks_{account}_secret").write_bytes(secret)
    return Secrets(tmp_path)


def platforms(**section: object) -> Platforms:
    return Platforms.model_validate({"standard_webhooks": section})


def test_platforms_are_found_by_their_entry_points() -> None:
    assert "standard_webhooks" in names()


def test_an_unknown_platform_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean standard_webhooks"):
        load(["standard_webhook"])
    with pytest.raises(ConfigError, match="did you mean webhook"):
        load(["webhok"])


def test_each_account_has_a_tenant_a_channel_and_an_address(secrets: Secrets) -> None:
    found = configured(
        platforms(accounts={"default": {}, "second": {"tenant": "acme"}}),
        load(["standard_webhooks"]),
        secrets,
        "https://bot.example",
    )

    first, second = found
    assert (first.channel, first.tenant) == ("standard_webhooks", "default")
    assert (second.channel, second.tenant) == ("standard_webhooks-second", "acme")
    assert first.url == "https://bot.example/webhooks/standard_webhooks"
    assert second.url == "https://bot.example/webhooks/standard_webhooks/second"
    assert paths(first) == (
        "/webhooks/standard_webhooks",
        "/webhooks/standard_webhooks/default",
    )
    assert paths(second) == ("/webhooks/standard_webhooks/second",)


def test_senders_are_paired_unless_a_program_of_ones_own_signs(secrets: Secrets) -> None:
    (secrets.directory / "telegram_default_webhook_secret").write_bytes(b"a-secret-token-of-ours")
    token = b"123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"
    (secrets.directory / "telegram_default_bot_token").write_bytes(token)
    accounts = {"default": {}, "second": {"senders": "pairing", "identity_links": True}}
    sections = {"standard_webhooks": {"accounts": accounts}, "telegram": {}}

    found = configured(Platforms.model_validate(sections), load(sections), secrets, "")

    rules = {(account.platform, account.name): account.rule for account in found}
    assert rules == {
        ("standard_webhooks", "default"): SenderRule.OPEN,
        ("standard_webhooks", "second"): SenderRule.PAIRING,
        ("telegram", "default"): SenderRule.PAIRING,
    }
    policies = sender_policies(
        found, webhook_tenant=Tenant("default"), webhook_may_link=False, api_may_link=False
    )
    assert [channel for channel, policy in policies.items() if policy.may_link] == [
        "standard_webhooks-second"
    ]
    assert {policies[Channel(name)].rule for name in ("api", "webhook")} == {SenderRule.OPEN}


def test_a_platform_that_is_switched_off_needs_no_secret(tmp_path: Path) -> None:
    known = load(["standard_webhooks"])

    assert configured(platforms(enabled=False), known, Secrets(tmp_path), "") == []


def test_a_platform_without_accounts_is_refused(tmp_path: Path) -> None:
    known = load(["standard_webhooks"])

    with pytest.raises(ConfigError, match=r"platforms.standard_webhooks.accounts: is empty"):
        configured(platforms(accounts={}), known, Secrets(tmp_path), "")
    assert configured(platforms(accounts={}, enabled=False), known, Secrets(tmp_path), "") == []


def test_two_accounts_that_share_a_key_are_refused(secrets: Secrets, tmp_path: Path) -> None:
    shared = tmp_path / "standard_webhooks_second_secret"
    shared.write_bytes(OTHER + b"\n" + WHSEC)

    with pytest.raises(ConfigError, match="second: has the same secret as default") as error:
        configured(
            platforms(accounts={"default": {}, "second": {}}),
            load(["standard_webhooks"]),
            secrets,
            "",
        )

    assert WHSEC.decode() not in str(error.value)


def test_two_accounts_that_read_the_same_secret_are_refused(tmp_path: Path) -> None:
    platform = load(["standard_webhooks"])["standard_webhooks"]
    both = Platforms.model_validate(
        {"a": {"accounts": {"b_c": {}}}, "a_b": {"accounts": {"c": {}}}}
    )

    with pytest.raises(ConfigError, match="reads the secret 'a_b_c_secret' too"):
        configured(both, {"a": platform, "a_b": platform}, Secrets(tmp_path), "")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"calback_url": "https://x"}, "default.calback_url; did you mean callback_url"),
        ({"tennant": "x"}, "default.tennant; did you mean tenant"),
        ({"callback_url": "nonsense"}, "default.callback_url: "),
        ({"sender": "open"}, "default.sender; did you mean senders"),
    ],
)
def test_a_wrong_key_is_refused_by_its_whole_name(
    secrets: Secrets, own: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        configured(platforms(accounts={"default": own}), load(["standard_webhooks"]), secrets, "")

    assert f"platforms.standard_webhooks.accounts.{message}" in str(error.value)


def test_a_secret_may_have_several_values_of_which_the_first_is_sent(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"first secret of ours\n\n second secret of ours \n")

    keys = read_keys(Secrets(tmp_path), "name", SecretRule("what"))

    assert keys is not None
    assert list(keys) == [b"first secret of ours", b"second secret of ours"]
    assert keys.text == "first secret of ours"
    assert "first" not in repr(keys)


def test_every_value_has_to_be_long_enough(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"first secret of ours\nshort")

    with pytest.raises(ConfigError, match="'name' needs at least 16 bytes"):
        read_keys(Secrets(tmp_path), "name", SecretRule("what"))


def test_an_optional_secret_may_be_missing_but_not_short(tmp_path: Path) -> None:
    rule = SecretRule("what", is_required=False)

    assert read_keys(Secrets(tmp_path), "name", rule) is None

    (tmp_path / "name").write_bytes(b"short")
    with pytest.raises(ConfigError, match="name"):
        read_keys(Secrets(tmp_path), "name", rule)


def test_a_secret_that_is_sent_as_text_is_ascii() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        _ = Keys("gehe\u00edm".encode()).text
