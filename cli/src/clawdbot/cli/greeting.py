"""What a person reads when the stack is up: where it is, and lines that work when pasted."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

BODY = '{"sender_id":"user123","content":"Hello! What can you do?","timestamp":%d}'


def own_command(argv0: str, config_path: Path, here: Path) -> str:
    """Return how this command is called from the folder `here`, ready for a shell."""
    program = Path(argv0)
    if program.name.startswith("clawdbot") and program.is_file():
        # Not resolved: in a virtual environment that would follow the link out of it.
        absolute = here / program
        inside = absolute.is_relative_to(here)
        words = [str(absolute.relative_to(here) if inside else absolute)]
    else:
        words = [sys.executable, "-m", "clawdbot.cli.main"]
    if config_path.resolve() != (here / "config.yaml").resolve():
        words += ["--config", str(config_path)]
    return shlex.join(words)


def send_lines(url: str, path: str, command: str) -> tuple[str, str, str]:
    """Return lines for bash that make a body, send it signed, and read the reply.

    The secret stays in its file: `clawdbot sign` reads it.
    """
    make = f"""BODY=$(printf '{BODY}' "$(date +%s)")"""
    send = (
        f"""SENT=$(curl -sS {url}{path} -H 'Content-Type: application/json' """
        f"""-H "X-Signature: $(printf %s "$BODY" | {command} sign)" -d "$BODY"); echo "$SENT\""""
    )
    # The address may be whole or a path alone; what is signed is the path.
    pattern = r"""s#.*"status_url": *"\(https*://[^/"]*\)*\(/[^"]*\)".*#\2#p"""
    pick = f"""STATUS=$(printf %s "$SENT" | sed -n '{pattern}')"""
    read = (
        f"""{pick}; curl -sS "{url}$STATUS" """
        f"""-H "X-Signature: $({command} sign --path "$STATUS")"; echo"""
    )
    return make, send, read


def greeting(url: str, path: str, token: str | None, command: str) -> str:
    """Return all of it; without a token where an identity provider gives them."""
    fragment = "" if token is None else f"#token={token}"
    make, send, read = send_lines(url, path, command)
    return f"""
Clawdbot is up.

  Console:  {url}/{fragment}
  Token:    {token or "from your identity provider"}
  Terminal: {command} chat

Send a signed message, then read its reply (while it is queued, paste the last line again):

{make}
{send}
{read}

Ctrl-C stops everything.
"""
