"""Sessions without sockets: order, splits, freezing, misuse, and engines that fail."""

from __future__ import annotations

import random

import pytest
import wasmtime

from hermetic_smtp import CLIENT_LIMITS, NEVER, SERVER_LIMITS, ClientSession, Engine, EngineError, MisuseError, ServerSession
from hermetic_smtp import values as v
from hermetic_smtp.instance import WORK, WORK_OCTET

OPTIONS = v.ServerOptions(
    protocol=v.Protocol.SMTP,
    server_name="mx.example.test",
    limits=SERVER_LIMITS,
    implicit_tls=False,
    start_tls=False,
    require_tls=False,
    plaintext_mechanisms=(),
    tls_mechanisms=(),
    require_auth=False,
    xclient=(),
    strict_hello=False,
    deliver_by=True,
    priority=True,
    trace=False,
    unasked=v.Questions(0),
)
CLIENT = v.ClientOptions(
    protocol=v.Protocol.SMTP,
    hello_name="client.example.test",
    limits=CLIENT_LIMITS,
    tls=v.TlsUse.NEVER,
    implicit_tls=False,
    plaintext_auth=False,
    ignore=(),
    pipelining=True,
    chunking=True,
    prdr=True,
    trace=False,
)
YES = v.Ok(None)
DIALOGUE = (
    b"EHLO client.example.test\r\n"
    b"MAIL FROM:<a@b.test> SIZE=100 RET=HDRS ENVID=x+2By MT-PRIORITY=-3 BY=120;RT\r\n"
    b"RCPT TO:<x@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y.test\r\n"
    b'RCPT TO:<"no one"@[192.0.2.1]>\r\nRCPT TO:<Postmaster>\r\n'
    b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nVRFY someone\r\nQUIT\r\n"
)


def answer(question: v.Question) -> v.Answer:
    match question:
        case v.QuestionConnection():
            return v.AnswerConnection(YES)
        case v.QuestionHello():
            return v.AnswerHello(v.Ok("pleased to meet you"))
        case v.QuestionSender():
            return v.AnswerSenderWithPriority(-4)
        case v.QuestionRecipients(recipients):
            none = v.Err(v.Refusal(550, 1, 1, "No such user"))
            return v.AnswerRecipients([none if isinstance(r.path, v.ForwardPathMailbox) and r.path.value.local == "no one" else YES for r in recipients])
        case v.QuestionData():
            return v.AnswerData(YES)
        case v.QuestionMessage(facts):
            return v.AnswerMessage([YES] * facts.recipients)
        case v.QuestionVerify():
            return v.AnswerVerify(v.VerifyAnswerKnown("Someone <someone@y.test>"))
    raise AssertionError(question)


def converse(pieces: list[bytes], freeze: bool = False) -> tuple[bytes, bytes, list[object]]:
    """What is said, the content, and what was asked."""
    session = ServerSession(OPTIONS)
    said, body, asked = b"", b"", []
    step, given, pending = session.start(1), b"", b""
    pieces = list(pieces)
    while True:
        said += step.transmit
        for piece in step.body:
            body += given[piece.value[0] : sum(piece.value)] if isinstance(piece, v.PieceRange) else piece.value
        if freeze and not isinstance(step.need, v.NeedClose):
            session = ServerSession.thaw(OPTIONS, session.freeze())
        match step.need:
            case v.NeedAnswer(question):
                if isinstance(question, v.QuestionRecipients):
                    asked += question.value
                else:
                    asked.append(question)
                step, given = session.answer(1, answer(question)), b""
            case v.NeedInput():
                if not pending:
                    if not pieces:
                        return said, body, asked
                    pending = pieces.pop(0)
                given = pending
                step = session.receive(1, given)
                pending = given[step.consumed :]
            case _:
                session.close()
                return said, body, asked


def test_a_whole_session():
    said, body, asked = converse([DIALOGUE])
    assert said.startswith(b"220 mx.example.test ESMTP\r\n250-mx.example.test")
    assert b"550 5.1.1 No such user\r\n" in said and said.endswith(b"221 2.0.0 Bye\r\n")
    assert body == b"Subject: x\r\n\r\n.dot\r\n"
    sender = next(q for q in asked if isinstance(q, v.QuestionSender)).value
    assert sender.mailbox == v.Mailbox("a", v.HostNameDomain("b.test"))
    assert sender.parameters.envid == "x+y" and sender.parameters.priority == -3
    assert sender.parameters.deliver_by == v.DeliverBy(120, v.ByMode.RETURN, True)
    recipients = [q for q in asked if isinstance(q, v.Recipient)]
    assert recipients[0].notify == v.Notify.SUCCESS | v.Notify.DELAY
    assert recipients[0].orcpt == v.OriginalRecipient("rfc822", "x@y.test")
    assert recipients[1].path == v.ForwardPathMailbox(v.Mailbox("no one", v.HostNameLiteral("192.0.2.1")))
    assert recipients[2].path == v.ForwardPathPostmaster()


@pytest.mark.parametrize("seed", range(12))
def test_any_split_says_the_same(seed):
    whole = converse([DIALOGUE])
    chance = random.Random(seed)
    places = sorted(chance.sample(range(1, len(DIALOGUE)), chance.randint(1, 60)))
    pieces = [DIALOGUE[a:b] for a, b in zip([0, *places], [*places, len(DIALOGUE)], strict=True)]
    said, body, asked = converse(pieces, freeze=seed % 2 == 1)
    assert (said, body, asked) == whole


def test_octet_by_octet():
    assert converse([bytes([octet]) for octet in DIALOGUE]) == converse([DIALOGUE])


def test_unasked_questions_are_not_asked():
    every = v.Questions(0)
    for flag in v.Questions:
        every |= flag
    with ServerSession(OPTIONS._replace(unasked=every)) as session:
        assert session.start(1).need == v.NeedInput()
        step = session.receive(1, DIALOGUE)
        assert step.consumed == len(DIALOGUE) and step.need == v.NeedClose()


def test_calls_out_of_order_say_what_was_expected():
    session = ServerSession(OPTIONS)
    with pytest.raises(MisuseError, match="`start` comes first") as error:
        session.receive(1, b"NOOP\r\n")
    assert error.value.misuse == v.MisuseNotStarted()
    session.start(1)
    with pytest.raises(MisuseError, match="A question is open|a question is open"):
        session.receive(1, b"NOOP\r\n")
    with pytest.raises(MisuseError, match="another question is open: connection"):
        session.answer(1, v.AnswerHello(YES))
    with pytest.raises(MisuseError, match="a refusal is 4yz or 5yz"):
        session.answer(1, v.AnswerConnection(v.Err(v.Refusal(250, 0, 0, "no"))))
    assert session.answer(1, v.AnswerConnection(YES)).transmit.startswith(b"220 ")
    with pytest.raises(MisuseError, match="no question is open"):
        session.answer(1, v.AnswerConnection(YES))
    with pytest.raises(MisuseError, match="secured"):
        session.secured(1, [])
    assert session.receive(2, b"QUIT\r\n").need == v.NeedClose()
    with pytest.raises(MisuseError, match="the session has ended") as error:
        session.receive(3, b"NOOP\r\n")
    assert error.value.misuse == v.MisuseClosed()
    session.close()
    session.close()
    for call in (lambda: session.receive(1, b""), lambda: session.tick(1), session.freeze):
        with pytest.raises(MisuseError, match="closed"):
            call()
    assert session.memory == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: s.receive(1, "text"), "receive: input: octets .* not str"),
        (lambda s: s.receive(-1, b""), "receive: now: a whole number"),
        (lambda s: s.receive(1 << 64, b""), "receive: now: a whole number"),
        (lambda s: s.receive(True, b""), "now"),
        (lambda s: s.tick(1.5), "tick: now: a whole number"),
        (lambda s: s.answer(1, None), "answer: answer: one of AnswerConnection"),
        (lambda s: s.answer(1, v.AnswerRecipients(YES)), "a list was expected"),
        (lambda s: s.answer(1, v.AnswerRecipients([YES, v.Ok(7)])), r"\[1\]: a text was expected"),
        (lambda s: s.answer(1, v.AnswerHello(v.Ok("\ud800"))), "surrogates"),
        (lambda s: s.answer(1, v.AnswerSenderWithPriority(200)), "-128 to 127"),
        (lambda s: s.drain(1, (421, 3, 2, "x")), "drain: farewell: Refusal was expected"),
        (lambda s: s.drain(1, v.Refusal("421", 3, 2, "x")), "drain: farewell: code: a whole number from 0 to 65535"),
        (lambda s: s.secured(1, "PLAIN"), "secured: mechanisms: a list"),
    ],
)
def test_values_that_do_not_fit_are_named(call, says):
    with ServerSession(OPTIONS) as session:
        session.start(1)
        with pytest.raises(MisuseError, match=says):
            call(session)
        assert session.answer(1, v.AnswerConnection(YES)).transmit.startswith(b"220 ")


def test_options_that_do_not_fit_are_named():
    with pytest.raises(MisuseError, match="limits: message-size: a whole number"):
        ServerSession(OPTIONS._replace(limits=SERVER_LIMITS._replace(message_size=-1)))
    with pytest.raises(MisuseError, match="ServerOptions was expected"):
        ServerSession({})
    with pytest.raises(MisuseError, match="unasked"):
        ServerSession(OPTIONS._replace(unasked=3))


def test_images_of_something_else_are_refused():
    for image in (b"", b"x", bytes(1000)):
        with pytest.raises(MisuseError, match="thaw"):
            ServerSession.thaw(OPTIONS, image)


def test_a_client_session():
    session = ClientSession(CLIENT)
    session.start(1)
    assert session.receive(2, b"220 mx ESMTP\r\n").transmit == b"EHLO client.example.test\r\n"
    step = session.receive(3, b"250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
    assert isinstance(step.need, v.ClientNeedReady) and step.need.value.size == 1000
    content = v.ContentFacts(22, False, False, 10, False)
    to = [v.Recipient(v.ForwardPathMailbox(v.Mailbox(name, v.HostNameDomain("y.test"))), v.Notify.FAILURE, None) for name in ("a", "b")]
    transaction = v.Transaction(v.Mailbox("a", v.HostNameDomain("b.test")), to, content, False, None, None, None, None, None)
    with pytest.raises(MisuseError, match="deliver: transaction: recipients: .0.: path: local"):
        session.deliver(4, transaction._replace(recipients=[v.Recipient(v.ForwardPathMailbox(v.Mailbox(7, v.HostNameDomain("y"))), None, None)]))
    with pytest.raises(MisuseError, match="deliver"):
        evil = v.Mailbox("a>\r\nRCPT TO:<b", v.HostNameDomain("y.test"))
        session.deliver(4, transaction._replace(recipients=[v.Recipient(v.ForwardPathMailbox(evil), None, None)]))
    step = session.deliver(4, transaction)
    assert step.transmit.startswith(b"MAIL FROM:<a@b.test> SIZE=22\r\nRCPT TO:<a@y.test>")
    step = session.receive(5, b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    assert isinstance(step.need, v.ClientNeedContent)
    outcomes = list(step.outcomes)
    step = session.content(6, b"Subject: x\r\n\r\n.hello\r\n", True)
    sent = b"".join(b"Subject: x\r\n\r\n.hello\r\n"[p.value[0] : sum(p.value)] if isinstance(p, v.PieceRange) else p.value for p in step.content)
    assert sent == b"Subject: x\r\n\r\n..hello\r\n.\r\n"
    outcomes += step.outcomes + session.receive(7, b"250 2.0.0 queued\r\n").outcomes
    assert {o.recipient: o.fate for o in outcomes} == {0: v.Fate.ACCEPTED, 1: v.Fate.PERMANENT}
    assert next(o for o in outcomes if o.recipient).status == v.Status(5, 1, 1)
    session.close()


def test_one_thread_at_a_time():
    session = ServerSession(OPTIONS)
    session._instance._lock.acquire()
    for call in (lambda: session.start(1), session.close, session.freeze, lambda: session.receive(1, b"")):
        with pytest.raises(MisuseError, match="Another thread"):
            call()
    session._instance._lock.release()
    session.start(1)
    session.close()


def test_time_passes():
    with ServerSession(OPTIONS) as session:
        assert session.start(1).wake == NEVER
        step = session.answer(1, v.AnswerConnection(YES))
        assert step.wake == 300_001
        assert session.tick(300_001).need == v.NeedClose()


# Engines that fail. The functions are those of the engine, what they do is not.

BROKEN = """
(module
  (import "[export]hermetic:engine/server@0.1.0" "[resource-new]session" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const {room})
  (func (export "hermetic:engine/server@0.1.0#[constructor]session") (param i32) (result i32) (call $new (i32.const 7)))
  (func (export "hermetic:engine/server@0.1.0#[method]session.start") (param i32 i64) (result i32) {start})
  (func (export "cabi_post_hermetic:engine/server@0.1.0#[method]session.start") (param i32))
)"""


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("unreachable", "unreachable"),
        ("(loop $on (br $on)) i32.const 0", "longer than one call may"),
        ("i32.const -8", "not inside its memory"),
        ("i32.const 65532", "not inside its memory"),
        ("(i32.store (i32.const 1028) (i32.const -4)) (i32.store (i32.const 1032) (i32.const 100)) i32.const 1016", "not inside its memory"),
        ("(i32.store8 (i32.const 1000) (i32.const 1)) (i32.store8 (i32.const 1008) (i32.const 99)) i32.const 1000", "does not exist"),
        ("(drop (memory.grow (i32.const 2000))) unreachable", "unreachable"),
    ],
)
def test_an_engine_that_fails_ends_its_session_only(tmp_path, start, says):
    path = tmp_path / "engine.wasm"
    path.write_bytes(wasmtime.wat2wasm(BROKEN.format(start=start, room=2048)))
    other = ServerSession(OPTIONS)
    session = ServerSession(OPTIONS, engine=Engine(path))
    with pytest.raises(EngineError, match=says):
        session.start(1)
    with pytest.raises(MisuseError, match="closed"):
        session.start(1)
    assert isinstance(other.start(1).need, v.NeedAnswer)
    other.close()


def test_an_engine_that_gives_memory_it_does_not_have(tmp_path):
    path = tmp_path / "engine.wasm"
    path.write_bytes(wasmtime.wat2wasm(BROKEN.format(start="unreachable", room=-16)))
    with pytest.raises(EngineError, match="memory that it does not have"):
        ServerSession(OPTIONS, engine=Engine(path))


def test_memory_has_a_bound(tmp_path):
    path = tmp_path / "engine.wasm"
    grow = "(if (i32.ne (memory.grow (i32.const 900)) (i32.const -1)) (then (if (i32.ne (memory.grow (i32.const 900)) (i32.const -1)) (then (loop $on (br $on)))))) unreachable"
    path.write_bytes(wasmtime.wat2wasm(BROKEN.format(start=grow, room=2048)))
    with pytest.raises(EngineError, match="unreachable"):
        ServerSession(OPTIONS, engine=Engine(path)).start(1)


@pytest.mark.parametrize("octets", [b"", b"no engine", b"\0asm\1\0\0\0"])
def test_what_is_no_engine_says_so(tmp_path, octets):
    path = tmp_path / "engine.wasm"
    path.write_bytes(octets)
    with pytest.raises(EngineError):
        ServerSession(OPTIONS, engine=Engine(path))
    with pytest.raises(EngineError, match="not there"):
        Engine(tmp_path / "nowhere.wasm")


def test_a_large_input_is_within_the_allowance():
    with ServerSession(OPTIONS) as session:
        session.start(1)
        session.answer(1, v.AnswerConnection(YES))
        flood = b"A" * (4 * 1024 * 1024)
        step = session.receive(1, flood)
        assert step.consumed <= len(flood)


def test_hostile_input_is_within_the_allowance():
    """The dearest inputs that are known, with bounds that stop nobody."""
    every = v.Questions(0)
    for flag in v.Questions:
        every |= flag
    free = SERVER_LIMITS._replace(errors=1_000_000_000, idle_commands=1_000_000_000)
    for line in (b"EHLO a\r\n", b"\r\n", b".\r\n", b"HELP\r\n", b"\n", b"\r"):
        with ServerSession(OPTIONS._replace(limits=free, unasked=every)) as session:
            session.start(1)
            flood = line * (65536 // len(line))
            assert session.receive(1, flood).consumed > len(flood) - len(line)
            left = session._instance._store.get_fuel()
            assert left > (WORK + WORK_OCTET * len(flood)) // 5, line
