"""A plugin for Hermetic. The setting `word` is what its recipients do not want."""

from wit_world import exports
%% if envelope message
from wit_world.imports import config
%% end
%% if envelope report
from wit_world.imports import facts
%% end
%% if message
from wit_world.imports import header
%% end
%% if delivery
from wit_world.imports import attempt, rendered
%% end
%% if report
from wit_world.imports import fate
%% end
%% if delivery report
from wit_world.imports import log
%% end
%% if envelope message delivery
from wit_world.imports.types import Reason
%% end
%% if envelope
from wit_world.imports.types import EnvelopeVerdict_Proceed, EnvelopeVerdict_Reject
%% end
%% if message
from wit_world.imports.types import MessageVerdict_Proceed, MessageVerdict_Reject
%% end
%% if delivery
from wit_world.imports.types import Outcome_Retry, Retry
%% end
%% if envelope message


def has_the_word(text):
    word = config.get("word")
    return bool(word) and word.lower() in text.lower()
%% end
%% for envelope


class {{On}}(exports.{{On}}):
    def judge(self):
        if has_the_word(facts.reverse_path() or ""):
            return EnvelopeVerdict_Reject(Reason(7, 1, "not from you, please"))
        return EnvelopeVerdict_Proceed()
%% end
%% for message


class {{On}}(exports.{{On}}):
    def judge(self):
        if any(has_the_word(subject) for subject in header.text("Subject")):
            return MessageVerdict_Reject(Reason(7, 1, "not about that, please"))
        return MessageVerdict_Proceed()
%% end
%% for delivery


class {{On}}(exports.{{On}}):
    def deliver(self):
        log.info(f"attempt {attempt.number()} of {attempt.idempotency_key()}, {rendered.size()} octets")
        return Outcome_Retry(Retry(Reason(3, 0, "this delivery is not written yet"), 3600))
%% end
%% for report


class {{On}}(exports.{{On}}):
    def note(self):
        log.info(f"{facts.forward_path()}: {fate.state()} {fate.text()}")
%% end
