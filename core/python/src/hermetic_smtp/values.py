"""What crosses the boundary of the engine, as Python values.

Generated from `wit/engine` by `generate.py`; changes here are lost. Records are named tuples; a variant is a union of small
frozen classes, one a case, with the payload in `value`; `option` is None or the value; `result` is `Ok` or `Err`; octets are
bytes. Times are milliseconds on one monotonic clock of the embedder's, sizes are octets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Generic, NamedTuple, Optional, TypeVar, Union

__all__ = [
    'Answer',
    'AnswerConnection',
    'AnswerData',
    'AnswerHello',
    'AnswerMessage',
    'AnswerRecipients',
    'AnswerSasl',
    'AnswerSender',
    'AnswerSenderWithPriority',
    'AnswerVerify',
    'AnswerXclient',
    'BodyKind',
    'ByMode',
    'Cause',
    'ClientLimits',
    'ClientNeed',
    'ClientNeedClose',
    'ClientNeedContent',
    'ClientNeedInput',
    'ClientNeedReady',
    'ClientNeedResponse',
    'ClientNeedStartTls',
    'ClientOptions',
    'ClientStep',
    'ContentFacts',
    'Decision',
    'DeliverBy',
    'Err',
    'Event',
    'Extension',
    'Failure',
    'Fate',
    'Fault',
    'ForwardPath',
    'ForwardPathMailbox',
    'ForwardPathPostmaster',
    'GreetingVerb',
    'Hello',
    'Hold',
    'HoldFor',
    'HoldUntil',
    'HostName',
    'HostNameDomain',
    'HostNameLiteral',
    'Login',
    'MailParameters',
    'Mailbox',
    'MessageFacts',
    'Misuse',
    'MisuseBadAnswer',
    'MisuseBadImage',
    'MisuseBadState',
    'MisuseBadValue',
    'MisuseClosed',
    'MisuseNoQuestionOpen',
    'MisuseNotStarted',
    'MisuseQuestionOpen',
    'MisuseWrongAnswer',
    'Need',
    'NeedAnswer',
    'NeedClose',
    'NeedInput',
    'NeedStartTls',
    'Notify',
    'Occasion',
    'Ok',
    'OriginalRecipient',
    'Outcome',
    'Peer',
    'Piece',
    'PieceOctets',
    'PieceRange',
    'Protocol',
    'Question',
    'QuestionConnection',
    'QuestionData',
    'QuestionHello',
    'QuestionMessage',
    'QuestionRecipients',
    'QuestionSasl',
    'QuestionSender',
    'QuestionVerify',
    'QuestionXclient',
    'Questions',
    'Recipient',
    'Refusal',
    'Reply',
    'ReturnContent',
    'SaslAnswer',
    'SaslAnswerAuthenticated',
    'SaslAnswerChallenge',
    'SaslAnswerRefused',
    'SaslStep',
    'SaslStepResponse',
    'SaslStepStart',
    'Sender',
    'ServerLimits',
    'ServerOptions',
    'Stage',
    'Status',
    'Step',
    'Submitter',
    'SubmitterMailbox',
    'SubmitterUnknown',
    'TlsUse',
    'Transaction',
    'VerifyAnswer',
    'VerifyAnswerKnown',
    'VerifyAnswerRefused',
    'VerifyAnswerUnsure',
    'XclientAttribute',
]

T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The good side of a `result`."""

    value: T


@dataclass(frozen=True, slots=True)
class Err(Generic[E]):
    """The other side of a `result`."""

    value: E

@dataclass(frozen=True, slots=True)
class HostNameDomain:
    """`domain`, a case of `host-name`."""

    value: str


@dataclass(frozen=True, slots=True)
class HostNameLiteral:
    """`literal`, a case of `host-name`."""

    value: str


HostName = Union[HostNameDomain, HostNameLiteral]
"""A domain as the peer wrote it (labels checked, IDNA mapping is the embedder's), or an address literal without
its brackets (`192.0.2.1`, `IPv6:2001:db8::1`). RFC 5321 section 4.1.3, RFC 6531 section 3.3.
"""


class Mailbox(NamedTuple):
    """An address. The local part is unquoted: nothing is left to decode. RFC 5321 section 4.1.2."""

    local: str
    host: HostName


class GreetingVerb(Enum):
    """How the peer said hello. RFC 5321 section 4.1.1.1, RFC 2033 section 4.1."""

    HELO = 'helo'
    EHLO = 'ehlo'
    LHLO = 'lhlo'


class Hello(NamedTuple):
    """HELO, EHLO or LHLO and its argument. `host` is absent where the argument is no valid domain or literal and the
    options tolerate that; `raw` is what was sent, with anything unprintable replaced.
    """

    verb: GreetingVerb
    host: HostName | None
    raw: str


class BodyKind(Enum):
    """BODY=. RFC 6152, RFC 3030."""

    SEVEN_BIT = 'seven-bit'
    EIGHT_BIT_MIME = 'eight-bit-mime'
    BINARY_MIME = 'binary-mime'


class ReturnContent(Enum):
    """RET=. RFC 3461 section 4.3."""

    FULL = 'full'
    HEADERS = 'headers'


class Notify(Flag):
    """NOTIFY=. RFC 3461 section 4.1. No flag set means NEVER."""

    SUCCESS = 1 << 0
    FAILURE = 1 << 1
    DELAY = 1 << 2


@dataclass(frozen=True, slots=True)
class SubmitterUnknown:
    """`unknown`, a case of `submitter`."""


@dataclass(frozen=True, slots=True)
class SubmitterMailbox:
    """`mailbox`, a case of `submitter`."""

    value: str


Submitter = Union[SubmitterUnknown, SubmitterMailbox]
"""AUTH= of MAIL: `<>` or a mailbox, decoded from xtext. RFC 4954 section 5."""


@dataclass(frozen=True, slots=True)
class HoldFor:
    """`for`, a case of `hold`."""

    value: int


@dataclass(frozen=True, slots=True)
class HoldUntil:
    """`until`, a case of `hold`."""

    value: int


Hold = Union[HoldFor, HoldUntil]
"""HOLDFOR= in seconds, or HOLDUNTIL= in seconds since the Unix epoch, rounded up. RFC 4865."""


class ByMode(Enum):
    """What happens when the time is over: `R` or `N`."""

    RETURN = 'return'
    NOTIFY = 'notify'


class DeliverBy(NamedTuple):
    """BY= (RFC 2852), with the time that is left.

    `seconds`: At most 9 digits; zero and below only with `notify`.
    """

    seconds: int
    mode: ByMode
    trace: bool


class MailParameters(NamedTuple):
    """The parameters of MAIL. Absent means that the peer did not give it.

    `envid`: Decoded from xtext.

    `hold`: Within the limits.

    `priority`: MT-PRIORITY= (RFC 6710), -9 to 9.
    """

    size: int | None
    body: BodyKind
    smtputf8: bool
    require_tls: bool
    prdr: bool
    ret: ReturnContent | None
    envid: str | None
    auth: Submitter | None
    hold: Hold | None
    deliver_by: DeliverBy | None
    priority: int | None


class Sender(NamedTuple):
    """MAIL. Without a mailbox it is the null reverse-path."""

    mailbox: Mailbox | None
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class ForwardPathPostmaster:
    """`postmaster`, a case of `forward-path`."""


@dataclass(frozen=True, slots=True)
class ForwardPathMailbox:
    """`mailbox`, a case of `forward-path`."""

    value: Mailbox


ForwardPath = Union[ForwardPathPostmaster, ForwardPathMailbox]
"""`postmaster` without a domain is a forward-path of its own. RFC 5321 section 4.5.1."""


class OriginalRecipient(NamedTuple):
    """ORCPT=, the address decoded from xtext or utf-8-addr-xtext. RFC 3461 section 4.2, RFC 6533 section 3."""

    address_type: str
    address: str


class Recipient(NamedTuple):
    """RCPT."""

    path: ForwardPath
    notify: Notify | None
    orcpt: OriginalRecipient | None


@dataclass(frozen=True, slots=True)
class SaslStepStart:
    """The mechanism in capitals, and the initial response if there was one (an empty one is `=`)."""

    value: tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class SaslStepResponse:
    """`response`, a case of `sasl-step`."""

    value: bytes


SaslStep = Union[SaslStepStart, SaslStepResponse]
"""One step of a SASL exchange, base64 decoded. RFC 4954 section 4."""


class XclientAttribute(NamedTuple):
    """One attribute of XCLIENT, decoded; absent is `[UNAVAILABLE]` or `[TEMPUNAVAIL]`."""

    name: str
    value: str | None


class MessageFacts(NamedTuple):
    """What is known of the message whose content has just been read.

    `size`: Octets of content, without the dots of transparency.

    `eight_bit`: The content has octets above 127.

    `bare_line_ends`: Bare CR or bare LF in the content: only ever under BODY=BINARYMIME.

    `longest_line`: The longest line's octets without its CRLF.

    `recipients`: Accepted recipients, which is how many answers are wanted.
    """

    size: int
    eight_bit: bool
    bare_line_ends: bool
    longest_line: int
    recipients: int


@dataclass(frozen=True, slots=True)
class QuestionConnection:
    """May this client speak? Asked at the start, and again after XCLIENT."""


@dataclass(frozen=True, slots=True)
class QuestionHello:
    """`hello`, a case of `question`."""

    value: Hello


@dataclass(frozen=True, slots=True)
class QuestionXclient:
    """`xclient`, a case of `question`."""

    value: Sequence[XclientAttribute]


@dataclass(frozen=True, slots=True)
class QuestionSasl:
    """`sasl`, a case of `question`."""

    value: SaslStep


@dataclass(frozen=True, slots=True)
class QuestionSender:
    """`sender`, a case of `question`."""

    value: Sender


@dataclass(frozen=True, slots=True)
class QuestionRecipients:
    """The recipients of one pipelined batch, in order."""

    value: Sequence[Recipient]


@dataclass(frozen=True, slots=True)
class QuestionVerify:
    """VRFY and its argument."""

    value: str


@dataclass(frozen=True, slots=True)
class QuestionData:
    """May the content begin? Asked before 354, or at the first BDAT."""


@dataclass(frozen=True, slots=True)
class QuestionMessage:
    """The content is complete. Answered after the message is on stable storage."""

    value: MessageFacts


Question = Union[QuestionConnection, QuestionHello, QuestionXclient, QuestionSasl, QuestionSender, QuestionRecipients, QuestionVerify, QuestionData, QuestionMessage]
"""What only the embedder can decide. While a question is open the session reads nothing."""


class Questions(Flag):
    """Questions by their names; `sasl` is not among them, since offering no mechanism is the way not to be asked."""

    CONNECTION = 1 << 0
    HELLO = 1 << 1
    XCLIENT = 1 << 2
    SENDER = 1 << 3
    RECIPIENTS = 1 << 4
    VERIFY = 1 << 5
    DATA = 1 << 6
    MESSAGE = 1 << 7


class Refusal(NamedTuple):
    """A refusal. `code` is 4yz or 5yz; the class of the enhanced code follows from it. 421 ends the session."""

    code: int
    subject: int
    detail: int
    text: str


Decision = Union[Ok[Optional[str]], Err[Refusal]]
"""Yes, with a text that replaces the usual one, or no. Texts are re-framed by the engine."""


@dataclass(frozen=True, slots=True)
class SaslAnswerChallenge:
    """`challenge`, a case of `sasl-answer`."""

    value: bytes


@dataclass(frozen=True, slots=True)
class SaslAnswerAuthenticated:
    """`authenticated`, a case of `sasl-answer`."""

    value: str


@dataclass(frozen=True, slots=True)
class SaslAnswerRefused:
    """`refused`, a case of `sasl-answer`."""

    value: Refusal


SaslAnswer = Union[SaslAnswerChallenge, SaslAnswerAuthenticated, SaslAnswerRefused]
"""The answer to a SASL step. `challenge` asks for another one; `authenticated` names the login."""


@dataclass(frozen=True, slots=True)
class VerifyAnswerUnsure:
    """`unsure`, a case of `verify-answer`."""


@dataclass(frozen=True, slots=True)
class VerifyAnswerKnown:
    """`known`, a case of `verify-answer`."""

    value: str


@dataclass(frozen=True, slots=True)
class VerifyAnswerRefused:
    """`refused`, a case of `verify-answer`."""

    value: Refusal


VerifyAnswer = Union[VerifyAnswerUnsure, VerifyAnswerKnown, VerifyAnswerRefused]
"""VRFY: the mailbox that exists (250), or a refusal, or neither (252)."""


@dataclass(frozen=True, slots=True)
class AnswerConnection:
    """`connection`, a case of `answer`."""

    value: Decision


@dataclass(frozen=True, slots=True)
class AnswerHello:
    """`hello`, a case of `answer`."""

    value: Decision


@dataclass(frozen=True, slots=True)
class AnswerXclient:
    """`xclient`, a case of `answer`."""

    value: Decision


@dataclass(frozen=True, slots=True)
class AnswerSasl:
    """`sasl`, a case of `answer`."""

    value: SaslAnswer


@dataclass(frozen=True, slots=True)
class AnswerSender:
    """`sender`, a case of `answer`."""

    value: Decision


@dataclass(frozen=True, slots=True)
class AnswerSenderWithPriority:
    """To `sender` too: yes, with this priority (-9 to 9) and not the one that was asked for. RFC 6710 section 4.1."""

    value: int


@dataclass(frozen=True, slots=True)
class AnswerRecipients:
    """As many as were asked for, in their order."""

    value: Sequence[Decision]


@dataclass(frozen=True, slots=True)
class AnswerVerify:
    """`verify`, a case of `answer`."""

    value: VerifyAnswer


@dataclass(frozen=True, slots=True)
class AnswerData:
    """`data`, a case of `answer`."""

    value: Decision


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """One for each accepted recipient, in the order of RCPT. LMTP and PRDR send each; otherwise the peer gets the
    first acceptance, else the first 4yz, else the first 5yz.
    """

    value: Sequence[Decision]


Answer = Union[AnswerConnection, AnswerHello, AnswerXclient, AnswerSasl, AnswerSender, AnswerSenderWithPriority, AnswerRecipients, AnswerVerify, AnswerData, AnswerMessage]
"""Each question has an answer of the same name, `sender` two."""


@dataclass(frozen=True, slots=True)
class NeedInput:
    """More octets from the peer."""


@dataclass(frozen=True, slots=True)
class NeedAnswer:
    """`answer`, a case of `need`."""

    value: Question


@dataclass(frozen=True, slots=True)
class NeedStartTls:
    """Write `transmit`, then shake hands, then call `secured`."""


@dataclass(frozen=True, slots=True)
class NeedClose:
    """Write `transmit`, then close the connection."""


Need = Union[NeedInput, NeedAnswer, NeedStartTls, NeedClose]
"""Why the session stopped reading."""


@dataclass(frozen=True, slots=True)
class PieceRange:
    """`range`, a case of `piece`."""

    value: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PieceOctets:
    """`octets`, a case of `piece`."""

    value: bytes


Piece = Union[PieceRange, PieceOctets]
"""Content: a range (offset, length) of this call's input, or a few octets that are not in it."""


class Occasion(Enum):
    """What happened, for the log."""

    COMMAND = 'command'
    """A command line was read, or by a client written (only with `trace`)."""
    REPLY = 'reply'
    """A reply was written, or by a client read (only with `trace`)."""
    SYNTAX_ERROR = 'syntax-error'
    SEQUENCE_ERROR = 'sequence-error'
    REFUSED = 'refused'
    """The embedder's refusal was sent, or by a client one was read."""
    CONTENT_REFUSED = 'content-refused'
    """Content that can not be accepted: bare CR or LF, too large, too long a line."""
    PLAINTEXT_DISCARDED = 'plaintext-discarded'
    """Commands were discarded because they came before TLS did."""
    AUTH_CANCELLED = 'auth-cancelled'
    TOO_MANY_ERRORS = 'too-many-errors'
    TIMED_OUT = 'timed-out'
    CLOSED = 'closed'


class Event(NamedTuple):
    """`detail` is printable ASCII or UTF-8 on one line. `secret`: it must never be written to a log."""

    occasion: Occasion
    detail: str
    secret: bool


class Step(NamedTuple):
    """The outcome of one call.

    `consumed`: Octets of the input that were used. Give the rest again after the need is met.

    `transmit`: For the peer, before anything else is done.

    `body`: The next part of the message's content.

    `abandoned`: A transaction ended without a message: the content that earlier steps brought is void. That of
    this step, if it has any, comes behind that and is another message's.

    `wake`: Call `tick` at this time if nothing else happens before; the largest number: never.
    """

    consumed: int
    transmit: bytes
    body: Sequence[Piece]
    abandoned: bool
    events: Sequence[Event]
    need: Need
    wake: int


@dataclass(frozen=True, slots=True)
class MisuseNoQuestionOpen:
    """`no-question-open`, a case of `misuse`."""


@dataclass(frozen=True, slots=True)
class MisuseQuestionOpen:
    """`question-open`, a case of `misuse`."""


@dataclass(frozen=True, slots=True)
class MisuseWrongAnswer:
    """What was asked."""

    value: str


@dataclass(frozen=True, slots=True)
class MisuseBadAnswer:
    """A refusal with an impossible code, a challenge too long, …"""

    value: str


@dataclass(frozen=True, slots=True)
class MisuseClosed:
    """`closed`, a case of `misuse`."""


@dataclass(frozen=True, slots=True)
class MisuseNotStarted:
    """`not-started`, a case of `misuse`."""


@dataclass(frozen=True, slots=True)
class MisuseBadState:
    """`secured` without `start-tls`, or input in between."""

    value: str


@dataclass(frozen=True, slots=True)
class MisuseBadValue:
    """What was given cannot be said to the peer: an address that would forge a command, content that is not what its
    facts say.
    """

    value: str


@dataclass(frozen=True, slots=True)
class MisuseBadImage:
    """`thaw` of bytes that no `freeze` of this version made."""

    value: str


Misuse = Union[MisuseNoQuestionOpen, MisuseQuestionOpen, MisuseWrongAnswer, MisuseBadAnswer, MisuseClosed, MisuseNotStarted, MisuseBadState, MisuseBadValue, MisuseBadImage]
"""The embedder's mistake, never the peer's. The session is unchanged."""


class ServerLimits(NamedTuple):
    """All bounds. RFC 5321 section 4.5.3. Times in milliseconds, sizes in octets.

    `message_size`: The largest content (RFC 1870), advertised as SIZE. 0: no limit, SIZE without a number.

    `recipients`: Recipients of one message. At least 100.

    `recipient_batch`: RCPT commands put into one question.

    `command_line`: A command line with its CRLF, extensions' allowances included. At least 512.

    `auth_line`: A line of an AUTH exchange with its CRLF. At least 12288 (RFC 4954 section 4).

    `text_line`: A line of content without its CRLF; 0: no limit. Longer ones are refused after the end of data.

    `errors`: Faulty or refused commands until 421; a message resets the count.

    `idle_commands`: Commands that bring no message forward (NOOP, RSET, VRFY, HELP, EHLO, …) until 421; a message
    resets the count.

    `messages`: Messages in one session. 0: no limit.

    `auth_failures`: Failed AUTH attempts until 421.

    `command_timeout`: Waiting for a command (RFC 5321: at least 5 minutes).

    `data_timeout`: Between two pieces of content (RFC 5321: at least 3 minutes).

    `handshake_timeout`: For the TLS handshake.

    `data_allowance`: For a whole message's content: this much, plus a second for each `data-rate` octets
    received.

    `data_rate`: Octets a second that a peer must at least sustain; 0: no rule.

    `session`: A whole session. 0: no limit.

    `hold_for`: The longest HOLDFOR, in seconds of at most 9 digits. 0: FUTURERELEASE (RFC 4865) is not offered.

    `hold_until`: The latest HOLDUNTIL, in seconds since the Unix epoch.

    `deliver_by`: The least BY (RFC 2852) for what is to be returned when it is over, in seconds. 0: any.
    """

    message_size: int
    recipients: int
    recipient_batch: int
    command_line: int
    auth_line: int
    text_line: int
    errors: int
    idle_commands: int
    messages: int
    auth_failures: int
    command_timeout: int
    data_timeout: int
    handshake_timeout: int
    data_allowance: int
    data_rate: int
    session: int
    hold_for: int
    hold_until: int
    deliver_by: int


class Protocol(Enum):
    """SMTP, or LMTP (RFC 2033)."""

    SMTP = 'smtp'
    LMTP = 'lmtp'


class ServerOptions(NamedTuple):
    """What the session is told at its start. `thaw` needs the same again.

    `server_name`: The name in the greeting and in the reply to EHLO.

    `implicit_tls`: The session began inside TLS.

    `start_tls`: STARTTLS is offered.

    `require_tls`: Nothing but EHLO, NOOP, RSET, STARTTLS and QUIT before TLS (530 5.7.0).

    `plaintext_mechanisms`: SASL mechanisms offered without TLS, in order; empty: none.

    `tls_mechanisms`: SASL mechanisms offered inside TLS when `implicit-tls`; after STARTTLS `secured` says them.

    `require_auth`: MAIL only after AUTH (530 5.7.0).

    `xclient`: Attributes of XCLIENT offered to this peer; empty: none.

    `strict_hello`: Refuse EHLO whose argument is no domain or address literal (501); otherwise it is tolerated.

    `deliver_by`: DELIVERBY (RFC 2852) is offered.

    `priority`: MT-PRIORITY (RFC 6710) is offered.

    `trace`: Report every command and reply as an event.

    `unasked`: Questions that are not asked: the answer to them is yes, to `verify` it is `unsure`. Without
    `message` nobody learns where content ends: it is then for embedders that let all of it go.
    """

    protocol: Protocol
    server_name: str
    limits: ServerLimits
    implicit_tls: bool
    start_tls: bool
    require_tls: bool
    plaintext_mechanisms: Sequence[str]
    tls_mechanisms: Sequence[str]
    require_auth: bool
    xclient: Sequence[str]
    strict_hello: bool
    deliver_by: bool
    priority: bool
    trace: bool
    unasked: Questions


class ClientLimits(NamedTuple):
    """All bounds. Times in milliseconds, sizes in octets. A time is for one whole reply: octets that trickle in do
    not put it off. RFC 5321 section 4.5.3.

    `reply_line`: A line of a reply with its CRLF. At least 512.

    `reply_lines`: Lines of one reply.

    `reply_size`: Octets of one reply.

    `auth_line`: A line of an AUTH exchange with its CRLF, ours and the peer's. At least 12288 (RFC 4954 section
    4).

    `reply_text`: Octets of a reply's text that are kept; the rest is cut off and marked with `...`.

    `received`: Octets of all replies in one session. 0: no limit.

    `recipients`: Recipients of one transaction.

    `pipeline`: Commands and chunks that may be without their reply at a time (RFC 2920 section 3.1). At least 1.

    `messages`: Transactions in one session. 0: no limit.

    `challenges`: Challenges in one AUTH exchange.

    `greeting_timeout`: For the greeting (RFC 5321: 5 minutes).

    `command_timeout`: For the reply to EHLO, HELO, LHLO, STARTTLS, RSET and each step of AUTH.

    `handshake_timeout`: For the TLS handshake.

    `mail_timeout`: For the reply to MAIL (5 minutes).

    `rcpt_timeout`: For the reply to RCPT (5 minutes).

    `data_timeout`: For the reply to DATA (2 minutes).

    `block_timeout`: For one piece of content to be written, and for the reply to a chunk that is not the last (3
    minutes).

    `message_timeout`: For the reply to the end of the content (10 minutes), each of them in LMTP and PRDR.

    `quit_timeout`: For the reply to QUIT.

    `idle_timeout`: A session that is ready and is given nothing to do: then it quits.
    """

    reply_line: int
    reply_lines: int
    reply_size: int
    auth_line: int
    reply_text: int
    received: int
    recipients: int
    pipeline: int
    messages: int
    challenges: int
    greeting_timeout: int
    command_timeout: int
    handshake_timeout: int
    mail_timeout: int
    rcpt_timeout: int
    data_timeout: int
    block_timeout: int
    message_timeout: int
    quit_timeout: int
    idle_timeout: int


class TlsUse(Enum):
    """What STARTTLS is used for."""

    NEVER = 'never'
    """Not used."""
    OPPORTUNISTIC = 'opportunistic'
    """Used where it is offered. If the handshake fails the embedder connects again with `never`, if its policy
    allows.
    """
    REQUIRED = 'required'
    """Nothing but EHLO and STARTTLS without TLS."""


class ClientOptions(NamedTuple):
    """What the session is told at its start. `thaw` needs the same again.

    `hello_name`: Our name, for EHLO: a domain or an address literal in its brackets.

    `implicit_tls`: The session began inside TLS.

    `plaintext_auth`: AUTH may be used without TLS.

    `ignore`: EHLO keywords, in any case, that count as if this peer did not offer them.

    `pipelining`: Use PIPELINING where it is offered.

    `chunking`: Use CHUNKING (BDAT) where it is offered.

    `prdr`: Use PRDR where it is offered and there are several recipients.

    `trace`: Report every command, and every line of a reply, as an event.
    """

    protocol: Protocol
    hello_name: str
    limits: ClientLimits
    tls: TlsUse
    implicit_tls: bool
    plaintext_auth: bool
    ignore: Sequence[str]
    pipelining: bool
    chunking: bool
    prdr: bool
    trace: bool


class Status(NamedTuple):
    """RFC 3463. The class is 2, 4 or 5."""

    class_: int
    subject: int
    detail: int


class Reply(NamedTuple):
    """What the peer said. `text` is its lines without codes, joined by spaces: printable, on one line, of bounded
    length. `status` is there if it was given and fits the code.
    """

    code: int
    status: Status | None
    text: str


class Stage(Enum):
    """What the session was at."""

    GREETING = 'greeting'
    HELLO = 'hello'
    START_TLS = 'start-tls'
    HANDSHAKE = 'handshake'
    AUTH = 'auth'
    IDLE = 'idle'
    RESET = 'reset'
    MAIL = 'mail'
    RCPT = 'rcpt'
    DATA = 'data'
    CONTENT = 'content'
    MESSAGE = 'message'
    QUIT = 'quit'


class Extension(NamedTuple):
    """One line of the reply to EHLO, as it was said: the keyword in capitals, and what follows it."""

    keyword: str
    parameters: str


class Peer(NamedTuple):
    """What is known of the peer. What `ignore` names is listed in `extensions` and counts nowhere else.

    `name`: The name that it gives itself, printable. Nobody has checked it.

    `tls`: The session is inside TLS.

    `authenticated`: AUTH was accepted.

    `mechanisms`: SASL mechanisms that may be used now, in capitals: none outside of TLS unless the options allow
    it.

    `size`: SIZE (RFC 1870), if it names a limit.

    `messages_left`: Transactions that may still follow: LIMITS MAILMAX (RFC 9422) and our own limit.

    `recipients_max`: LIMITS RCPTMAX: recipients of one transaction.

    `domains_max`: LIMITS RCPTDOMAINMAX: different domains in one transaction.
    """

    name: str
    tls: bool
    authenticated: bool
    extensions: Sequence[Extension]
    mechanisms: Sequence[str]
    size: int | None
    messages_left: int | None
    recipients_max: int | None
    domains_max: int | None


class ContentFacts(NamedTuple):
    """What is known of the content, all of it, as it will be given to `content`.

    `size`: Octets.

    `eight_bit`: There are octets above 127.

    `bare_line_ends`: There is a CR or LF that is no CRLF.

    `longest_line`: The longest line's octets without its CRLF.

    `utf8_header`: A header field, of a part too, has UTF-8 in it (RFC 6532).
    """

    size: int
    eight_bit: bool
    bare_line_ends: bool
    longest_line: int
    utf8_header: bool


class Transaction(NamedTuple):
    """A message for some recipients. What has a parameter of an extension that the peer does not offer goes without
    it where that does no harm (DSN, AUTH=, MT-PRIORITY, BY with `notify`), and is not sent where it does.

    `sender`: Absent: the null reverse-path.

    `require_tls`: REQUIRETLS (RFC 8689).

    `auth`: AUTH= (RFC 4954 section 5): only if the embedder vouches for it.

    `priority`: MT-PRIORITY= (RFC 6710), -9 to 9.
    """

    sender: Mailbox | None
    recipients: Sequence[Recipient]
    content: ContentFacts
    require_tls: bool
    ret: ReturnContent | None
    envid: str | None
    auth: Submitter | None
    deliver_by: DeliverBy | None
    priority: int | None


class Fate(Enum):
    """What became of one recipient."""

    ACCEPTED = 'accepted'
    """The peer has taken the message for it."""
    TEMPORARY = 'temporary'
    """Try again later."""
    PERMANENT = 'permanent'
    """Do not try again."""
    UNKNOWN = 'unknown'
    """All of the content went out and no reply came (RFC 1047): the peer may have the message. Trying again may
    deliver it twice, not trying may lose it.
    """
    UNSENT = 'unsent'
    """It was not tried, for a limit of the peer's or of ours: put it into another transaction at once, in another
    session if no transaction may follow in this one.
    """


class Cause(Enum):
    """Who decided it, and why."""

    REPLY = 'reply'
    """The peer: see the reply."""
    TOO_LARGE = 'too-large'
    """The content is larger than SIZE says. 5.3.4"""
    EIGHT_BIT = 'eight-bit'
    """The content has octets above 127 and the peer has no 8BITMIME: re-encode it, or it is 5.6.3."""
    NOT_LINES = 'not-lines'
    """The content is no lines of at most 998 octets, and the peer has no BINARYMIME: re-encode it, or it is 5.6.3."""
    UTF8_ADDRESS = 'utf8-address'
    """An address needs SMTPUTF8. 5.6.7"""
    UTF8_HEADER = 'utf8-header'
    """The header needs SMTPUTF8. 5.6.9"""
    REQUIRE_TLS = 'require-tls'
    """REQUIRETLS is not offered, or there is no TLS. 5.7.30"""
    DELIVER_BY = 'deliver-by'
    """BY with `return`, and the peer has no DELIVERBY. 5.3.3"""
    LIMIT = 'limit'
    """LIMITS, or its reply says that there are too many recipients, or our own limit on messages. 4.5.3"""
    BAD_REPLY = 'bad-reply'
    """A reply that is none, or does not fit the command. 4.5.0"""
    TIMED_OUT = 'timed-out'
    """The peer took too long. 4.4.2"""
    LOST = 'lost'
    """The connection was lost. 4.4.2"""
    ABANDONED = 'abandoned'
    """The embedder quit. 4.4.2"""


class Outcome(NamedTuple):
    """`outcome` of `client`.

    `recipient`: Its place in the transaction's recipients, from 0.

    `status`: The peer's, or if it gave none, or did not decide, ours.

    `dsn`: The peer has DSN (RFC 3461): what it accepted it is answerable for. Otherwise it is `relayed` for those
    who asked for notices of success.

    `deliver_by`: The peer has DELIVERBY (RFC 2852): it keeps the time of what it accepted.
    """

    recipient: int
    fate: Fate
    cause: Cause
    stage: Stage
    status: Status
    reply: Reply | None
    dsn: bool
    deliver_by: bool


class Login(NamedTuple):
    """What came of `login`. A login that is refused leaves the session ready."""

    accepted: bool
    reply: Reply


class Fault(Enum):
    """Why the session has ended against our will."""

    REFUSED = 'refused'
    """The greeting or the hello was refused: see the reply."""
    NO_TLS = 'no-tls'
    """TLS is required and not offered."""
    TLS_REFUSED = 'tls-refused'
    """TLS is required and STARTTLS was refused: see the reply."""
    PLAINTEXT = 'plaintext'
    """Something came behind the reply to STARTTLS and before TLS: somebody is on the line."""
    LEAVING = 'leaving'
    """421: see the reply."""
    BAD_REPLY = 'bad-reply'
    """What came is no reply, or does not fit the command."""
    TOO_MUCH = 'too-much'
    """A reply, or all of them, over a limit."""
    TIMED_OUT = 'timed-out'
    LOST = 'lost'


class Failure(NamedTuple):
    """`failure` of `client`."""

    fault: Fault
    stage: Stage
    reply: Reply | None
    detail: str


@dataclass(frozen=True, slots=True)
class ClientNeedInput:
    """More octets from the peer."""


@dataclass(frozen=True, slots=True)
class ClientNeedStartTls:
    """Write `transmit`, then shake hands, then call `secured`."""


@dataclass(frozen=True, slots=True)
class ClientNeedReady:
    """`login`, `deliver` or `quit`. Octets that come meanwhile are given to `receive`."""

    value: Peer


@dataclass(frozen=True, slots=True)
class ClientNeedResponse:
    """`respond` to this challenge, or `cancel`."""

    value: bytes


@dataclass(frozen=True, slots=True)
class ClientNeedContent:
    """`content`. Octets that come meanwhile are given to `receive`: the peer may have changed its mind."""


@dataclass(frozen=True, slots=True)
class ClientNeedClose:
    """Write `transmit` as far as that goes, then close the connection."""


ClientNeed = Union[ClientNeedInput, ClientNeedStartTls, ClientNeedReady, ClientNeedResponse, ClientNeedContent, ClientNeedClose]
"""Why the session stopped."""


class ClientStep(NamedTuple):
    """The outcome of one call.

    `consumed`: Octets of the input to `receive` that were used.

    `transmit`: For the peer, before anything else is done.

    `content`: For the peer behind `transmit`: ranges (offset, length) of the octets that `content` was given, and
    octets between them.

    `outcomes`: Each recipient of a transaction has one outcome, in one of the steps from `deliver` to the next
    `ready` or `close`.

    `wake`: Call `tick` at this time if nothing else happens before, even while writing; the largest number:
    never.
    """

    consumed: int
    transmit: bytes
    content: Sequence[Piece]
    outcomes: Sequence[Outcome]
    login: Login | None
    failure: Failure | None
    events: Sequence[Event]
    need: ClientNeed
    wake: int
