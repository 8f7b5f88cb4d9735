"""Refuses what has a word in its Subject, and tags the rest."""

from wit_world import exports
from wit_world.imports import config, edit, header
from wit_world.imports.types import MessageVerdict_Proceed, MessageVerdict_Reject, Reason


class OnRecipientMessage(exports.OnRecipientMessage):
    def judge(self):
        word = config.get("word")
        subjects = header.text("Subject")
        if word and any(word.lower() in subject.lower() for subject in subjects):
            return MessageVerdict_Reject(Reason(7, 1, f"no {word}, please"))
        edit.prepend("X-Hermetic-Tag", "python")
        return MessageVerdict_Proceed()
