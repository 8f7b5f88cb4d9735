"""Judges what has a word in its Subject, and tags the rest."""

from wit_world import exports
from wit_world.imports import config, edit, header
from wit_world.imports.types import (
    MessageVerdict_Accept,
    MessageVerdict_Defer,
    MessageVerdict_Discard,
    MessageVerdict_Proceed,
    MessageVerdict_Reject,
    Reason,
)


class OnRecipientMessage(exports.OnRecipientMessage):
    def judge(self):
        word = config.get("word")
        if not word or not any(word.lower() in subject.lower() for subject in header.text("Subject")):
            edit.prepend("X-Hermetic-Tag", "python")
            return MessageVerdict_Proceed()
        reason = Reason(7, 1, f"no {word}, please")
        verdict = config.get("verdict")
        if verdict in (None, "reject"):
            return MessageVerdict_Reject(reason)
        if verdict == "defer":
            return MessageVerdict_Defer(reason)
        if verdict == "discard":
            return MessageVerdict_Discard()
        if verdict == "accept":
            return MessageVerdict_Accept()
        # No answer is the operator's failure policy's.
        raise ValueError(f"{verdict!r} is no verdict")
