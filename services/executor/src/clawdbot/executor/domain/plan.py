"""The plan: exactly what would be run, for whom. Its hash is what an approval and a run agree on.

Source: JSON Canonicalization Scheme (RFC 8785).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import rfc8785

from clawdbot.executor.domain.arguments import command_line
from clawdbot.executor.domain.instruction import Arguments, Instruction
from clawdbot.executor.domain.profile import Profile
from clawdbot.schema.errors import Unavailable

PLAN_VERSION = 1


@dataclass(frozen=True)
class Requester:
    """On whose behalf; from the verified principal and nowhere else."""

    tenant: str
    user: str
    conversation: str
    channel: str


@dataclass(frozen=True)
class Plan:
    """One instruction with its arguments, bound to who asked for it."""

    instruction: str
    instruction_version: int
    manifest_sha256: str
    executable_sha256: str
    argv: tuple[str, ...]
    profile: Profile
    requester: Requester

    def canonical(self) -> bytes:
        """Return the plan as canonical JSON: the same bytes for the same plan, on every machine."""
        return rfc8785.dumps(
            {
                "version": PLAN_VERSION,
                "instruction": self.instruction,
                "instruction_version": self.instruction_version,
                "manifest_sha256": self.manifest_sha256,
                "executable_sha256": self.executable_sha256,
                "argv": list(self.argv),
                "inputs": [],
                "egress": [],
                "profile": self.profile.canonical(),
                "tenant": self.requester.tenant,
                "user": self.requester.user,
                "conversation": self.requester.conversation,
                "channel": self.requester.channel,
            }
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical plan, 64 hex digits."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def rendered(self) -> str:
        """Return the plan for a person to read: each word quoted, nothing invisible."""
        words = " ".join(json.dumps(word, ensure_ascii=False) for word in self.argv)
        limits = f"at most {self.profile.wall_s:g} s, network {self.profile.network}"
        return f"{self.instruction} (version {self.instruction_version}): {words}; {limits}"


def make_plan(instruction: Instruction, arguments: Arguments, requester: Requester) -> Plan:
    """Return the plan of `instruction` with `arguments` for `requester`.

    Raises:
        InvalidMessage: the arguments are refused.
        TooLarge: the command line would be too long.
        Unavailable: this host does not have the executable.
    """
    argv = command_line(instruction, arguments)
    if instruction.executable_sha256 is None:
        raise Unavailable(f"this host has no {instruction.executable!r}")
    return Plan(
        instruction=instruction.id,
        instruction_version=instruction.version,
        manifest_sha256=instruction.manifest_sha256,
        executable_sha256=instruction.executable_sha256,
        argv=argv,
        profile=instruction.profile,
        requester=requester,
    )
