"""What somebody asks with an application command of Discord's, as a message.

A command with one text option says that text. Any other says its name, and each option as
`name: value`; a command on a message adds what that message says.

Source: Discord, "Receiving and Responding" (interaction, application command data, resolved data)
and "API Reference" (snowflakes); option and channel types from "Application Commands" and
"Channels Resource".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from clawdbot.gateway.adapters.fields import Body, read_fields, storable
from clawdbot.gateway.adapters.platforms.buttons import is_ours
from clawdbot.gateway.adapters.platforms.discord_replies import ReplyAddress, Snowflake, Token
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import Attachment

DISCORD_EPOCH_MS = 1_420_070_400_000
STRING, USER, CHANNEL, ROLE, MENTIONABLE, ATTACHMENT = 3, 6, 7, 8, 9, 11
SUBCOMMANDS = frozenset({1, 2})
THREADS = frozenset({10, 11, 12})
"""Types of channel that are a thread of another one."""
BOT_DM = 1
"""Interaction context of a direct message with the application itself."""
MEDIA = frozenset({"image", "audio", "video"})
MAX_NAME_CHARS = 255
OWN_COMMANDS = frozenset({"approve", "deny"})
"""Commands whose name is what is said; of others with one text only the text is."""

Text = Annotated[str, BeforeValidator(storable)]
Value = Annotated[str | int | float | bool | None, BeforeValidator(storable)]


class User(Body):
    """An account."""

    id: Snowflake
    bot: bool | None = None
    username: Text | None = None
    global_name: Text | None = None


class Member(Body):
    """A user within a server."""

    user: User


class Channel(Body):
    """Where it was asked."""

    id: Snowflake
    type: int | None = None
    parent_id: Snowflake | None = None


class File(Body):
    """An uploaded file; the URL is of Discord's CDN and works for a day or so."""

    url: Annotated[Text, Field(min_length=1, max_length=4096)]
    filename: Text = ""
    content_type: Text | None = None

    def attachment(self) -> Attachment:
        """Return it as messages carry it."""
        media_type = (self.content_type or "")[:MAX_NAME_CHARS] or None
        kind = (media_type or "").partition("/")[0]
        return Attachment(
            type=kind if kind in MEDIA else "file",
            url=self.url,
            name=self.filename[:MAX_NAME_CHARS] or None,
            media_type=media_type,
        )


class Message(Body):
    """What a command on a message is about."""

    content: Text = ""
    attachments: list[File] = []


class Named(Body):
    """A role or a channel."""

    name: Text | None = None


class Resolved(Body):
    """What the ids in a command stand for."""

    users: dict[str, User] = {}
    roles: dict[str, Named] = {}
    channels: dict[str, Named] = {}
    messages: dict[str, Message] = {}
    attachments: dict[str, File] = {}


class Option(Body):
    """A parameter with its value, or a subcommand with options of its own."""

    name: Text
    type: int
    value: Value = None
    options: list[Option] | None = None

    @property
    def is_said(self) -> bool:
        """Whether it has a value in words; files go as attachments."""
        return self.value is not None and self.type != ATTACHMENT


class Command(Body):
    """`data` of an application command."""

    name: Text
    options: list[Option] | None = None
    resolved: Resolved | None = None
    target_id: Snowflake | None = None


class Component(Body):
    """`data` of a button that somebody pressed."""

    custom_id: Text = ""


class Interaction(Body):
    """What somebody used."""

    id: Snowflake
    application_id: Snowflake
    token: Token
    channel_id: Snowflake | None = None
    channel: Channel | None = None
    member: Member | None = None
    user: User | None = None
    context: int | None = None

    @property
    def in_group(self) -> bool:
        """Whether it was used anywhere but in a direct message with the application."""
        return self.context != BOT_DM if self.context is not None else self.member is not None


class Asked(Interaction):
    """An application command as somebody used it."""

    data: Command


class Pressed(Interaction):
    """A button as somebody pressed it."""

    data: Component


class MaybePressed(Body):
    """As much of a button as tells whose it is."""

    data: Component = Component()


def read_command(values: Mapping[str, object]) -> PlatformMessage | None:
    """Return what somebody asks; None when that is a bot.

    Raises:
        InvalidMessage: a field that we need is missing or wrong.
    """
    asked = read_fields(Asked, values)
    files = tuple(file.attachment() for file in _files(asked.data))
    return _message(asked, _content(asked.data), files)


def presses_ours(values: Mapping[str, object]) -> bool:
    """Return whether a button of ours was pressed."""
    return is_ours(read_fields(MaybePressed, values).data.custom_id)


def read_press(values: Mapping[str, object]) -> PlatformMessage | None:
    """Return what pressing a button says; None when a bot did.

    Raises:
        InvalidMessage: a field that we need is missing or wrong.
    """
    pressed = read_fields(Pressed, values)
    return _message(pressed, pressed.data.custom_id, ())


def _message(
    interaction: Interaction, content: str, files: tuple[Attachment, ...]
) -> PlatformMessage | None:
    user = interaction.member.user if interaction.member else interaction.user
    if user is None:
        raise InvalidMessage("the interaction is nobody's", field="user")
    if user.bot:
        return None
    place, thread_id = _place(interaction, user)
    said_at_ms = (int(interaction.id) >> 22) + DISCORD_EPOCH_MS
    return PlatformMessage(
        event_id=interaction.id,
        sender_id=user.id,
        content=content,
        place=place,
        timestamp=said_at_ms // 1000,
        attachments=files,
        thread_id=thread_id,
        address=ReplyAddress(
            application_id=interaction.application_id,
            token=interaction.token,
            channel_id=interaction.channel_id,
            said_at_ms=said_at_ms,
        ).model_dump(),
        holds_token=True,
        in_group=interaction.in_group,
    )


def _place(interaction: Interaction, user: User) -> tuple[tuple[str, str], str | None]:
    channel = interaction.channel
    channel_id = interaction.channel_id or (channel.id if channel else user.id)
    if channel is None or channel.type not in THREADS:
        return (channel_id, ""), None
    return (channel.parent_id or "", channel_id), channel_id


def _content(command: Command) -> str:
    words, given = [f"/{command.name}"], list(_flat(command.options or []))
    spoken = [option for option in given if option.is_said]
    if len(spoken) == 1 and spoken[0].type == STRING:
        value = str(spoken[0].value)
        return f"/{command.name} {value}" if command.name in OWN_COMMANDS else value
    words += [option.name for option in given if option.type in SUBCOMMANDS]
    resolved = command.resolved or Resolved()
    lines = [f"{option.name}: {_shown(option, resolved)}" for option in spoken]
    return "\n".join([" ".join(words), *lines, *_target(command, resolved)])


def _flat(options: list[Option]) -> Iterator[Option]:
    for option in options:
        yield option
        yield from _flat(option.options or [])


def _shown(option: Option, resolved: Resolved) -> str:
    value = option.value
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if option.type not in {USER, CHANNEL, ROLE, MENTIONABLE}:
        return text
    named = resolved.roles.get(text) or resolved.channels.get(text)
    return _called(resolved.users.get(text)) or (named and named.name) or text


def _called(user: User | None) -> str | None:
    return (user.global_name or user.username) if user else None


def _target(command: Command, resolved: Resolved) -> Iterator[str]:
    target = command.target_id or ""
    if message := resolved.messages.get(target):
        yield message.content
    elif called := _called(resolved.users.get(target)):
        yield called


def _files(command: Command) -> Iterator[File]:
    resolved = command.resolved or Resolved()
    yield from resolved.attachments.values()
    if message := resolved.messages.get(command.target_id or ""):
        yield from message.attachments
