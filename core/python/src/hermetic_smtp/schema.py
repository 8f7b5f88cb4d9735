"""The types and functions of `wit/engine` as a table.

Generated from `wit/engine` by `generate.py`; changes here are lost. `abi.py` lays values out in memory by it, `transcribe.py` in JSON. Order matters: it is WIT's.
"""

from __future__ import annotations

from hermetic_smtp import values as v
from hermetic_smtp.shapes import (
    BOOL,
    HANDLE,
    OCTETS,
    S8,
    S32,
    STRING,
    U16,
    U32,
    U64,
    Bits,
    Choice,
    Function,
    ListOf,
    OptionOf,
    Record,
    ResultOf,
    TupleOf,
    Variant,
)

VERSION = "0.1.0"

host_name = Variant('host-name', (
    ('domain', v.HostNameDomain, STRING),
    ('literal', v.HostNameLiteral, STRING),
))
mailbox = Record('mailbox', v.Mailbox, (
    ('local', STRING),
    ('host', host_name),
))
greeting_verb = Choice('greeting-verb', tuple(v.GreetingVerb))
hello = Record('hello', v.Hello, (
    ('verb', greeting_verb),
    ('host', OptionOf(host_name)),
    ('raw', STRING),
))
body_kind = Choice('body-kind', tuple(v.BodyKind))
return_content = Choice('return-content', tuple(v.ReturnContent))
notify = Bits('notify', v.Notify, ('success', 'failure', 'delay'))
submitter = Variant('submitter', (
    ('unknown', v.SubmitterUnknown, None),
    ('mailbox', v.SubmitterMailbox, STRING),
))
hold = Variant('hold', (
    ('for', v.HoldFor, U32),
    ('until', v.HoldUntil, U64),
))
by_mode = Choice('by-mode', tuple(v.ByMode))
deliver_by = Record('deliver-by', v.DeliverBy, (
    ('seconds', S32),
    ('mode', by_mode),
    ('trace', BOOL),
))
mail_parameters = Record('mail-parameters', v.MailParameters, (
    ('size', OptionOf(U64)),
    ('body', body_kind),
    ('smtputf8', BOOL),
    ('require-tls', BOOL),
    ('prdr', BOOL),
    ('ret', OptionOf(return_content)),
    ('envid', OptionOf(STRING)),
    ('auth', OptionOf(submitter)),
    ('hold', OptionOf(hold)),
    ('deliver-by', OptionOf(deliver_by)),
    ('priority', OptionOf(S8)),
))
sender = Record('sender', v.Sender, (
    ('mailbox', OptionOf(mailbox)),
    ('parameters', mail_parameters),
))
forward_path = Variant('forward-path', (
    ('postmaster', v.ForwardPathPostmaster, None),
    ('mailbox', v.ForwardPathMailbox, mailbox),
))
original_recipient = Record('original-recipient', v.OriginalRecipient, (
    ('address-type', STRING),
    ('address', STRING),
))
recipient = Record('recipient', v.Recipient, (
    ('path', forward_path),
    ('notify', OptionOf(notify)),
    ('orcpt', OptionOf(original_recipient)),
))
sasl_step = Variant('sasl-step', (
    ('start', v.SaslStepStart, TupleOf((STRING, OptionOf(OCTETS),))),
    ('response', v.SaslStepResponse, OCTETS),
))
xclient_attribute = Record('xclient-attribute', v.XclientAttribute, (
    ('name', STRING),
    ('value', OptionOf(STRING)),
))
message_facts = Record('message-facts', v.MessageFacts, (
    ('size', U64),
    ('eight-bit', BOOL),
    ('bare-line-ends', BOOL),
    ('longest-line', U64),
    ('recipients', U32),
))
question = Variant('question', (
    ('connection', v.QuestionConnection, None),
    ('hello', v.QuestionHello, hello),
    ('xclient', v.QuestionXclient, ListOf(xclient_attribute)),
    ('sasl', v.QuestionSasl, sasl_step),
    ('sender', v.QuestionSender, sender),
    ('recipients', v.QuestionRecipients, ListOf(recipient)),
    ('verify', v.QuestionVerify, STRING),
    ('data', v.QuestionData, None),
    ('message', v.QuestionMessage, message_facts),
))
questions = Bits('questions', v.Questions, ('connection', 'hello', 'xclient', 'sender', 'recipients', 'verify', 'data', 'message'))
refusal = Record('refusal', v.Refusal, (
    ('code', U16),
    ('subject', U16),
    ('detail', U16),
    ('text', STRING),
))
decision = ResultOf(OptionOf(STRING), refusal)
sasl_answer = Variant('sasl-answer', (
    ('challenge', v.SaslAnswerChallenge, OCTETS),
    ('authenticated', v.SaslAnswerAuthenticated, STRING),
    ('refused', v.SaslAnswerRefused, refusal),
))
verify_answer = Variant('verify-answer', (
    ('unsure', v.VerifyAnswerUnsure, None),
    ('known', v.VerifyAnswerKnown, STRING),
    ('refused', v.VerifyAnswerRefused, refusal),
))
answer = Variant('answer', (
    ('connection', v.AnswerConnection, decision),
    ('hello', v.AnswerHello, decision),
    ('xclient', v.AnswerXclient, decision),
    ('sasl', v.AnswerSasl, sasl_answer),
    ('sender', v.AnswerSender, decision),
    ('sender-with-priority', v.AnswerSenderWithPriority, S8),
    ('recipients', v.AnswerRecipients, ListOf(decision)),
    ('verify', v.AnswerVerify, verify_answer),
    ('data', v.AnswerData, decision),
    ('message', v.AnswerMessage, ListOf(decision)),
))
need = Variant('need', (
    ('input', v.NeedInput, None),
    ('answer', v.NeedAnswer, question),
    ('start-tls', v.NeedStartTls, None),
    ('close', v.NeedClose, None),
))
piece = Variant('piece', (
    ('range', v.PieceRange, TupleOf((U32, U32,))),
    ('octets', v.PieceOctets, OCTETS),
))
occasion = Choice('occasion', tuple(v.Occasion))
event = Record('event', v.Event, (
    ('occasion', occasion),
    ('detail', STRING),
    ('secret', BOOL),
))
step = Record('step', v.Step, (
    ('consumed', U32),
    ('transmit', OCTETS),
    ('body', ListOf(piece)),
    ('abandoned', BOOL),
    ('events', ListOf(event)),
    ('need', need),
    ('wake', U64),
))
misuse = Variant('misuse', (
    ('no-question-open', v.MisuseNoQuestionOpen, None),
    ('question-open', v.MisuseQuestionOpen, None),
    ('wrong-answer', v.MisuseWrongAnswer, STRING),
    ('bad-answer', v.MisuseBadAnswer, STRING),
    ('closed', v.MisuseClosed, None),
    ('not-started', v.MisuseNotStarted, None),
    ('bad-state', v.MisuseBadState, STRING),
    ('bad-value', v.MisuseBadValue, STRING),
    ('bad-image', v.MisuseBadImage, STRING),
))
server_limits = Record('limits', v.ServerLimits, (
    ('message-size', U64),
    ('recipients', U32),
    ('recipient-batch', U32),
    ('command-line', U32),
    ('auth-line', U32),
    ('text-line', U32),
    ('errors', U32),
    ('idle-commands', U32),
    ('messages', U32),
    ('auth-failures', U32),
    ('command-timeout', U64),
    ('data-timeout', U64),
    ('handshake-timeout', U64),
    ('data-allowance', U64),
    ('data-rate', U32),
    ('session', U64),
    ('hold-for', U32),
    ('hold-until', U64),
    ('deliver-by', U32),
))
protocol = Choice('protocol', tuple(v.Protocol))
server_options = Record('options', v.ServerOptions, (
    ('protocol', protocol),
    ('server-name', STRING),
    ('limits', server_limits),
    ('implicit-tls', BOOL),
    ('start-tls', BOOL),
    ('require-tls', BOOL),
    ('plaintext-mechanisms', ListOf(STRING)),
    ('tls-mechanisms', ListOf(STRING)),
    ('require-auth', BOOL),
    ('xclient', ListOf(STRING)),
    ('strict-hello', BOOL),
    ('deliver-by', BOOL),
    ('priority', BOOL),
    ('trace', BOOL),
    ('unasked', questions),
))
client_limits = Record('limits', v.ClientLimits, (
    ('reply-line', U32),
    ('reply-lines', U32),
    ('reply-size', U32),
    ('auth-line', U32),
    ('reply-text', U32),
    ('received', U64),
    ('recipients', U32),
    ('pipeline', U32),
    ('messages', U32),
    ('challenges', U32),
    ('greeting-timeout', U64),
    ('command-timeout', U64),
    ('handshake-timeout', U64),
    ('mail-timeout', U64),
    ('rcpt-timeout', U64),
    ('data-timeout', U64),
    ('block-timeout', U64),
    ('message-timeout', U64),
    ('quit-timeout', U64),
    ('idle-timeout', U64),
))
tls_use = Choice('tls-use', tuple(v.TlsUse))
client_options = Record('options', v.ClientOptions, (
    ('protocol', protocol),
    ('hello-name', STRING),
    ('limits', client_limits),
    ('tls', tls_use),
    ('implicit-tls', BOOL),
    ('plaintext-auth', BOOL),
    ('ignore', ListOf(STRING)),
    ('pipelining', BOOL),
    ('chunking', BOOL),
    ('prdr', BOOL),
    ('trace', BOOL),
))
status = Record('status', v.Status, (
    ('class', U16),
    ('subject', U16),
    ('detail', U16),
))
reply = Record('reply', v.Reply, (
    ('code', U16),
    ('status', OptionOf(status)),
    ('text', STRING),
))
stage = Choice('stage', tuple(v.Stage))
extension = Record('extension', v.Extension, (
    ('keyword', STRING),
    ('parameters', STRING),
))
peer = Record('peer', v.Peer, (
    ('name', STRING),
    ('tls', BOOL),
    ('authenticated', BOOL),
    ('extensions', ListOf(extension)),
    ('mechanisms', ListOf(STRING)),
    ('size', OptionOf(U64)),
    ('messages-left', OptionOf(U32)),
    ('recipients-max', OptionOf(U32)),
    ('domains-max', OptionOf(U32)),
))
content_facts = Record('content-facts', v.ContentFacts, (
    ('size', U64),
    ('eight-bit', BOOL),
    ('bare-line-ends', BOOL),
    ('longest-line', U64),
    ('utf8-header', BOOL),
))
transaction = Record('transaction', v.Transaction, (
    ('sender', OptionOf(mailbox)),
    ('recipients', ListOf(recipient)),
    ('content', content_facts),
    ('require-tls', BOOL),
    ('ret', OptionOf(return_content)),
    ('envid', OptionOf(STRING)),
    ('auth', OptionOf(submitter)),
    ('deliver-by', OptionOf(deliver_by)),
    ('priority', OptionOf(S8)),
))
fate = Choice('fate', tuple(v.Fate))
cause = Choice('cause', tuple(v.Cause))
outcome = Record('outcome', v.Outcome, (
    ('recipient', U32),
    ('fate', fate),
    ('cause', cause),
    ('stage', stage),
    ('status', status),
    ('reply', OptionOf(reply)),
    ('dsn', BOOL),
    ('deliver-by', BOOL),
))
login = Record('login', v.Login, (
    ('accepted', BOOL),
    ('reply', reply),
))
fault = Choice('fault', tuple(v.Fault))
failure = Record('failure', v.Failure, (
    ('fault', fault),
    ('stage', stage),
    ('reply', OptionOf(reply)),
    ('detail', STRING),
))
client_need = Variant('need', (
    ('input', v.ClientNeedInput, None),
    ('start-tls', v.ClientNeedStartTls, None),
    ('ready', v.ClientNeedReady, peer),
    ('response', v.ClientNeedResponse, OCTETS),
    ('content', v.ClientNeedContent, None),
    ('close', v.ClientNeedClose, None),
))
client_step = Record('step', v.ClientStep, (
    ('consumed', U32),
    ('transmit', OCTETS),
    ('content', ListOf(piece)),
    ('outcomes', ListOf(outcome)),
    ('login', OptionOf(login)),
    ('failure', OptionOf(failure)),
    ('events', ListOf(event)),
    ('need', client_need),
    ('wake', U64),
))

FUNCTIONS: dict[str, dict[str, Function]] = {
    'server': {
        'constructor': Function('constructor', (('options', server_options),), None),
        'start': Function('method', (('now', U64),), step),
        'receive': Function('method', (('now', U64), ('input', OCTETS),), step),
        'secured': Function('method', (('now', U64), ('mechanisms', ListOf(STRING)),), step),
        'tick': Function('method', (('now', U64),), step),
        'answer': Function('method', (('now', U64), ('answer', answer),), step),
        'drain': Function('method', (('now', U64), ('farewell', refusal),), step),
        'freeze': Function('method', (), OCTETS),
        'thaw': Function('static', (('options', server_options), ('image', OCTETS),), HANDLE),
    },
    'client': {
        'constructor': Function('constructor', (('options', client_options),), None),
        'start': Function('method', (('now', U64),), client_step),
        'receive': Function('method', (('now', U64), ('input', OCTETS),), client_step),
        'secured': Function('method', (('now', U64),), client_step),
        'tick': Function('method', (('now', U64),), client_step),
        'lost': Function('method', (('now', U64),), client_step),
        'login': Function('method', (('now', U64), ('mechanism', STRING), ('initial', OptionOf(OCTETS)),), client_step),
        'respond': Function('method', (('now', U64), ('response', OCTETS),), client_step),
        'cancel': Function('method', (('now', U64),), client_step),
        'deliver': Function('method', (('now', U64), ('transaction', transaction),), client_step),
        'content': Function('method', (('now', U64), ('octets', OCTETS), ('last', BOOL),), client_step),
        'quit': Function('method', (('now', U64),), client_step),
        'freeze': Function('method', (), OCTETS),
        'thaw': Function('static', (('options', client_options), ('image', OCTETS),), HANDLE),
    },
}
