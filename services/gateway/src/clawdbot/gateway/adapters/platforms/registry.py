"""Which platforms are installed, and the accounts that are configured for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from clawdbot.gateway.adapters.platforms.interface import (
    GROUP,
    Account,
    AccountSettings,
    Platform,
)
from clawdbot.gateway.adapters.platforms.keys import Keys, read_keys
from clawdbot.gateway.domain.senders import SenderRule
from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.config_sections import PlatformAccount, Platforms
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.ids import Tenant

PATH = "/webhooks"


def names() -> list[str]:
    """Return the platforms that are installed; none of them is imported."""
    return sorted(entry_points(group=GROUP).names)


def load(wanted: Iterable[str]) -> dict[str, Platform[Any]]:
    """Return the platforms of these names.

    Raises:
        ConfigError: one of them is not installed.
    """
    points = entry_points(group=GROUP)
    known = dict.fromkeys((*points.names, "webhook", "socket"))
    for name in wanted:
        if name not in points.names:
            raise ConfigError(f"platforms.{name}: no such platform{_nearest(name, known)}")
    return {name: points[name].load() for name in wanted}


def configured(
    platforms: Platforms, known: Mapping[str, Platform[Any]], secrets: Secrets, public_url: str
) -> list[Account[Any]]:
    """Return the accounts that are switched on, with their secrets.

    Args:
        platforms: the configuration.
        known: what `load` gave for its chat platforms.
        secrets: where `<platform>_<account>_<what>` are read.
        public_url: without a slash at the end; "" when not known.

    Raises:
        ConfigError: a key is unknown, a value is wrong, a secret is missing, blank or short, or
            two accounts cannot be told apart.
    """
    _refuse_empty(platforms)
    _refuse_same_secrets(platforms, known)
    accounts = [
        Account(
            platform=name,
            name=account,
            tenant=Tenant(section.tenant),
            channel=channel,
            url=_url(public_url, name, account),
            settings=_settings(f"platforms.{name}.accounts.{account}", section, known[name]),
            keys=_keys(secrets, f"{name}_{account}", known[name], section.connection),
            rule=_rule(section, known[name]),
            allowed=frozenset(section.allowed),
            may_link=section.identity_links,
            connects=_connects(f"platforms.{name}.accounts.{account}", section, known[name]),
        )
        for name, account, channel in platforms.channels()
        for section in (platforms.chat[name].accounts[account],)
    ]
    _refuse_shared_keys(accounts)
    return accounts


def paths(account: Account[Any]) -> tuple[str, ...]:
    """Return the paths under which `account` is reached; the default one has a short one too."""
    long = f"{PATH}/{account.platform}/{account.name}"
    return (f"{PATH}/{account.platform}", long) if account.name == "default" else (long,)


def _refuse_empty(platforms: Platforms) -> None:
    for name, section in platforms.chat.items():
        if section.enabled and not section.accounts:
            raise ConfigError(f"platforms.{name}.accounts: is empty; add one or set enabled: false")


def _refuse_same_secrets(platforms: Platforms, known: Mapping[str, Platform[Any]]) -> None:
    """Pass when no two accounts read the same secret, as `a_b` `c` and `a` `b_c` would."""
    readers: dict[str, str] = {}
    for name, account, _ in platforms.channels():
        where = f"platforms.{name}.accounts.{account}"
        for rule in known[name].secrets:
            secret = f"{name}_{account}_{rule.what}"
            if secret in readers:
                raise ConfigError(f"{where}: {readers[secret]} reads the secret {secret!r} too")
            readers[secret] = where


def _refuse_shared_keys(accounts: Iterable[Account[Any]]) -> None:
    """Pass when what is signed for one account is believed by no other one of the platform."""
    holders: dict[tuple[str, str, bytes], str] = {}
    for account in accounts:
        for what, keys in account.keys.items():
            for key in set(keys):
                other = holders.setdefault((account.platform, what, key), account.name)
                if other != account.name:
                    raise ConfigError(
                        f"platforms.{account.platform}.accounts.{account.name}: has the same "
                        f"{what} as {other}; give each account its own"
                    )


def _url(public_url: str, platform: str, account: str) -> str:
    below = platform if account == "default" else f"{platform}/{account}"
    return f"{public_url}{PATH}/{below}" if public_url else ""


def _settings(where: str, section: PlatformAccount, platform: Platform[Any]) -> AccountSettings:
    fields, common = platform.settings.model_fields, PlatformAccount.model_fields
    for key in section.own:
        if key not in fields:
            raise ConfigError(f"unknown key {where}.{key}{_nearest(key, {**fields, **common})}")
    try:
        found: AccountSettings = platform.settings.model_validate(section.own)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join((where, *(str(part) for part in first["loc"])))
        raise ConfigError(f"{key}: {first['msg']}") from exc
    return found


def _rule(section: PlatformAccount, platform: Platform[Any]) -> SenderRule:
    if section.senders is not None:
        return SenderRule(section.senders)
    return SenderRule.OPEN if platform.vouches_for_senders else SenderRule.PAIRING


def _connects(where: str, section: PlatformAccount, platform: Platform[Any]) -> bool:
    if section.connection == "socket" and not platform.connects:
        raise ConfigError(f"{where}.connection: this platform has webhooks only")
    return section.connection == "socket"


def _keys(
    secrets: Secrets, prefix: str, platform: Platform[Any], connection: str
) -> dict[str, Keys]:
    found = {
        rule.what: read_keys(secrets, f"{prefix}_{rule.what}", rule)
        for rule in platform.secrets
        if rule.only_for in (None, connection)
    }
    return {what: keys for what, keys in found.items() if keys is not None}


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
