"""Recording and replaying: files are whole, say no secrets, run again to the same outcomes, and bad ones are refused with a sentence."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import smtplib
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hermetic_smtp import Client, FileError, Recorder, ServerSession, replay
from hermetic_smtp import values as v
from hermetic_smtp.recording import read, write
from hermetic_smtp.schema import FUNCTIONS
from hermetic_smtp.transcribe import Unlike, from_json, to_json
from test_session import OPTIONS, YES


def sealed(lines: list[object]) -> bytes:
    """A file of these lines, with an end that fits."""
    content = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return content + json.dumps({"end": len(lines), "sha256": hashlib.sha256(content).hexdigest()}).encode() + b"\n"


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A short session."""
    session = ServerSession(OPTIONS, observer=Recorder(tmp_path / "records").begin("server", OPTIONS))
    session.start(0)
    session.answer(1, v.AnswerConnection(YES))
    session.receive(2, b"NOOP\r\nVRFY \xc3\xa4\r\n")
    session.answer(3, v.AnswerVerify(v.VerifyAnswerUnsure()))
    with pytest.raises(Exception, match="no question"):
        session.answer(3, v.AnswerConnection(YES))
    session.drain(4, v.Refusal(421, 3, 2, "Bye"))
    session.close()
    (path,) = (tmp_path / "records").iterdir()
    return path


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()][:-1]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hermetic_smtp", *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_a_recorded_session_is_a_file_and_runs_again(recorded):
    assert stat.S_IMODE(recorded.stat().st_mode) == 0o600
    lines = lines_of(recorded)
    assert lines[0]["hermetic-session"] == 1 and lines[0]["half"] == "server" and lines[0]["options"]["server-name"] == "mx.example.test"
    assert [line["call"] for line in lines[1:]] == ["start", "answer", "receive", "answer", "answer", "drain"]
    assert lines[1]["step"]["wake"] == "18446744073709551615"
    assert lines[3]["input"] == "NOOP\r\nVRFY Ã¤\r\n"
    assert lines[5]["misuse"] == "no-question-open"
    found = replay(recorded)
    assert found.equal and found.calls == 6 and found.note == ""
    ran = command("replay", str(recorded), str(recorded))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "2 replayed, 0 differ\n", "")


def test_the_first_difference_is_shown(recorded, tmp_path):
    lines = lines_of(recorded)
    lines[4]["step"]["transmit"] = "250 known\r\n"
    path = tmp_path / "other.session"
    path.write_bytes(sealed(lines))
    found = replay(path)
    assert found.difference and found.difference.line == 5 and found.difference.place == "step.transmit"
    ran = command("replay", str(recorded), str(path))
    assert ran.returncode == 1
    assert f"{path}:5: answer: step.transmit: '250 known\\r\\n' was recorded, '252 " in ran.stdout
    assert ran.stdout.endswith("2 replayed, 1 differ\n")


def test_a_trap_that_did_not_come_is_a_difference(recorded, tmp_path):
    lines = lines_of(recorded)
    del lines[6]["step"]
    lines[6]["trap"] = "unreachable"
    path = tmp_path / "trap.session"
    path.write_bytes(sealed(lines))
    difference = replay(path).difference
    assert difference and difference.line == 7


def test_another_version_of_the_interface_is_tried_and_named(recorded, tmp_path):
    lines = lines_of(recorded)
    lines[0]["wit"] = "0.0.9"
    lines.insert(2, {"plugin": "greylist", "asked": {}})
    path = tmp_path / "old.session"
    path.write_bytes(sealed(lines))
    found = replay(path)
    assert found.equal and found.note == "recorded with hermetic:engine 0.0.9, run with 0.1.0"
    assert "recorded with hermetic:engine 0.0.9" in command("replay", str(path)).stdout


def test_order_of_members_and_escapes_do_not_matter(recorded, tmp_path):
    path = tmp_path / "same.session"
    path.write_bytes(sealed([dict(reversed(line.items())) for line in lines_of(recorded)]))
    assert replay(path).equal


def change(place, value):
    def changed(lines):
        of = lines
        for step in place[:-1]:
            of = of[step]
        if value is KeyError:
            del of[place[-1]]
        else:
            of[place[-1]] = value
        return sealed(lines)

    return changed


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (change((0, "hermetic-session"), 2), ":1: the format's version 1 was expected, not 2"),
        (change((0, "hermetic-session"), KeyError), ":1: a header with `hermetic-session` was expected"),
        (change((0, "half"), "probe"), ":1: `half` was expected to be server or client, not 'probe'"),
        (change((0, "wit"), 1), ":1: `wit`"),
        (change((0, "options"), KeyError), ":1: `options` was expected"),
        (change((0, "options", "limits", "errors"), "x"), ":1: options.limits.errors: a whole number"),
        (change((0, "options", "unasked"), ["nothing"]), ":1: options.unasked: one of connection"),
        (change((0, "options", "protocol"), "http"), ":1: options.protocol: one of smtp, lmtp was expected"),
        (change((0, "options", "more"), 1), ":1: options: `more` is no field of options"),
        (change((1, "call"), "freeze"), ":2: `call` was expected to be one of start"),
        (change((1, "call"), KeyError), ":2: `call` was expected"),
        (change((1, "now"), KeyError), ":2: start: the parameter `now` was expected"),
        (change((1, "now"), -1), ":2: start.now: a whole number from 0"),
        (change((1, "now"), True), ":2: start.now: a whole number"),
        (change((1, "now"), 1.0), ":2: start.now: a whole number"),
        (change((1, "step"), KeyError), ":2: start: exactly one of step, misuse and trap"),
        (change((1, "trap"), "x"), ":2: start: exactly one of step, misuse and trap was expected, not 2"),
        (change((1, "more"), 1), ":2: start has no `more`"),
        (change((1, "step", "need"), "rest"), ":2: start.step.need: one of input, answer"),
        (change((1, "step", "need"), "answer"), ":2: start.step.need: `answer` has a payload"),
        (change((1, "step", "need"), {"input": None}), ":2: start.step.need: `input` has no payload"),
        (change((2, "answer"), {"connection": "ok"}), ":3: answer.answer.connection: one of ok, err"),
        (change((3, "input"), "\u0100"), ":4: receive.input: a text of characters up to U"),
        (change((3, "input"), 7), ":4: receive.input: a text was expected"),
        (change((3, "step", "events"), {}), ":4: receive.step.events: an array"),
        (change((3, "step", "body"), [{"range": [1]}]), r":4: receive.step.body.\[0\].range: an array of 2"),
        (change((2, "answer"), {"connection": {"ok": "\ud800"}}), ":3: answer.answer.connection.ok: a text without lone"),
        (lambda lines: sealed([*lines[:2], b"{"]), ":3: this is no JSON"),
        (lambda lines: sealed([*lines[:2], b"\xff"]), ":3: this is no JSON"),
        (lambda lines: sealed([*lines[:2], b"[" * 100_000]), ":3: this is no JSON"),
        (lambda lines: sealed([*lines[:2], b"9" * 10_000]), ":3: this is no JSON"),
        (lambda lines: sealed([*lines[:2], []]), ":3: an object was expected"),
        (lambda lines: sealed(lines)[:-1], "cut short"),
        (lambda lines: sealed(lines).rsplit(b"\n", 2)[0] + b"\n", "cut short"),
        (lambda lines: sealed(lines)[: len(sealed(lines)) // 2], "cut short"),
        (lambda lines: b"", "cut short"),
        (lambda lines: b"\n", "no JSON"),
        (lambda lines: sealed([]), "a header was expected"),
        (lambda lines: sealed(lines).replace(b"NOOP", b"HELP", 1), "`sha256` does not fit"),
        (lambda lines: sealed(lines).replace(b'"end": ', b'"end": 1'), "`end` says"),
        (lambda lines: sealed(lines).replace(b"NOOP\\r", b"NOOP\n", 1), "`end` says"),
    ],
)
def test_what_a_reader_must_refuse(recorded, tmp_path, forge, says):
    path = tmp_path / "forged.session"
    path.write_bytes(forge(lines_of(recorded)))
    with pytest.raises(FileError, match=says) as error:
        replay(path)
    assert str(error.value).startswith(f"{path}:")


def test_the_command_says_what_it_could_not_read(recorded, tmp_path):
    path = tmp_path / "forged.session"
    path.write_bytes(change((0, "hermetic-session"), 2)(lines_of(recorded)))
    ran = command("replay", str(path), str(recorded))
    assert ran.returncode == 65 and ran.stdout == "1 replayed, 0 differ\n"
    assert ran.stderr == f"{path}:1: the format's version 1 was expected, not 2\n"


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        replay(tmp_path / "nowhere.session")
    with pytest.raises(FileError, match="Is a directory"):
        replay(tmp_path)
    assert command("replay").returncode == 64
    assert command("play", "x").returncode == 64
    assert command("--help").returncode == 0


def test_sessions_over_sockets_are_recorded_without_secrets(smtp_servers, server_tls, client_tls, tmp_path):
    folder = tmp_path / "records"
    server = smtp_servers(tls=server_tls, users={"alice": "open sesame"}, record=folder)
    with smtplib.SMTP("localhost", server.port) as client:
        client.starttls(context=client_tls)
        client.ehlo()
        for method in (client.auth_plain, client.auth_login):
            client.user, client.password = "alice", "wrong"
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.auth(method.__name__[5:].upper(), method)
        client.login("alice", "open sesame", initial_response_ok=False)
        client.sendmail("a@b.test", ["c@d.test"], b"A: b\r\n\r\nhello\r\n")

    async def main():
        async with Client("localhost", server.port, tls=client_tls, record=folder) as client:
            await client.login("alice", "open sesame")
            await client.send("a@b.test", ["c@d.test"], b"A: b\r\n\r\nhello\r\n")

    asyncio.run(main())
    server.close()
    files = sorted(folder.iterdir())
    assert len(files) == 3
    for path in files:
        content = path.read_bytes()
        for secret in ("open sesame", "\0alice\0open sesame", "wrong", "\0alice\0wrong"):
            encoded = base64.b64encode(secret.encode()).rstrip(b"=")
            assert secret.encode() not in content and encoded not in content
            assert json.dumps(secret)[1:-1].encode() not in content
        found = replay(path)
        assert found.equal, found.difference
        assert read(path).about["masked"] == ["secrets"]
    assert {read(path).half for path in files} == {"server", "client"}
    assert sum(b'"message":' in path.read_bytes() for path in files) >= 2


def test_auth_split_at_any_octet_leaves_no_secret(tmp_path):
    secret = base64.b64encode(b"\0alice\0open sesame")
    said = b"EHLO c.test\r\nauth plain " + secret + b"\r\nAUTH PLAIN\r\n" + secret + b"\r\nQUIT\r\n"
    options = OPTIONS._replace(plaintext_mechanisms=("PLAIN",))
    folder = tmp_path / "records"
    recorder = Recorder(folder)
    for size in (1, 3, 20, len(said)):
        session = ServerSession(options, observer=recorder.begin("server", options))
        session.start(0)
        session.answer(0, v.AnswerConnection(YES))
        pending = b""
        for at in range(0, len(said), size):
            pending += said[at : at + size]
            while pending:
                step = session.receive(1, pending)
                pending = pending[step.consumed :]
                while isinstance(step.need, v.NeedAnswer):
                    refused = v.SaslAnswerRefused(v.Refusal(535, 7, 8, "no"))
                    match step.need.value:
                        case v.QuestionHello():
                            step = session.answer(1, v.AnswerHello(YES))
                        case v.QuestionSasl(v.SaslStepStart((_, None))):
                            step = session.answer(1, v.AnswerSasl(v.SaslAnswerChallenge(b"")))
                        case v.QuestionSasl():
                            step = session.answer(1, v.AnswerSasl(refused))
                if isinstance(step.need, v.NeedClose):
                    break
        session.close()
    for path in folder.iterdir():
        recording = read(path)
        inputs = b"".join(call.arguments[1] for call in recording.calls if call.function == "receive")
        assert secret[:8] not in inputs and secret[8:16] not in inputs and secret[-12:-2] not in inputs
        assert replay(path).equal
    assert len(list(folder.iterdir())) == 4


def test_recording_is_bounded(tmp_path, caplog):
    recorder = Recorder(tmp_path / "records", most_octets=5_000, most_files=2)
    for n in range(4):
        session = ServerSession(OPTIONS, observer=recorder.begin("server", OPTIONS))
        session.start(0)
        session.answer(0, v.AnswerConnection(YES))
        for _ in range(100 if n == 0 else 1):
            session.receive(1, b"NOOP\r\n")
        session.close()
    assert len(list((tmp_path / "records").iterdir())) == 2
    assert "more than 5000 octets" in caplog.text and "no more are" in caplog.text


def test_what_is_written_is_read(recorded):
    recording = read(recorded)
    about = {name: value for name, value in recording.about.items() if name != "wit"}
    again = write(type(recording)(recording.half, recording.options, recording.calls, about))
    assert again == recorded.read_bytes()


def test_values_go_to_json_and_back():
    shape = FUNCTIONS["client"]["deliver"].parameters[1][1]
    to = v.Recipient(v.ForwardPathMailbox(v.Mailbox("ä", v.HostNameLiteral("IPv6:::1"))), v.Notify(0), v.OriginalRecipient("rfc822", "x"))
    postmaster = v.Recipient(v.ForwardPathPostmaster(), None, None)
    value = v.Transaction(
        None, [to, postmaster], v.ContentFacts(1 << 60, True, False, 3, True), True, v.ReturnContent.HEADERS, "id",
        v.SubmitterUnknown(), v.DeliverBy(-5, v.ByMode.NOTIFY, False), -9,
    )  # fmt: skip
    json_value = json.loads(json.dumps(to_json(shape, value)))
    assert json_value["content"]["size"] == str(1 << 60) and json_value["recipients"][1]["path"] == "postmaster"
    assert from_json(shape, json_value) == value
    with pytest.raises(Unlike, match="priority: a whole number from -128 to 127"):
        from_json(shape, {**json_value, "priority": 200})


def test_every_session_of_the_project_runs_the_same():
    """The files that the Rust side writes of every transcript; HERMETIC_SESSIONS names their folder."""
    named = os.environ.get("HERMETIC_SESSIONS")
    if not named:
        if os.environ.get("CI") == "true":
            pytest.fail("HERMETIC_SESSIONS has to name the folder of .session files that `cargo test` writes")
        pytest.skip("HERMETIC_SESSIONS names no folder")
    files = sorted(Path(named).rglob("*.session"))
    assert files, f"there is no .session file in {named}"
    differences = [str(found.difference) for path in files if not (found := replay(path)).equal]
    assert not differences, "\n".join(differences)
    halves = {read(path).half for path in files}
    print(f"{len(files)} replayed, {len(differences)} differ; {', '.join(sorted(halves))}")
    assert halves == {"server", "client"}
    load = sum(path.is_relative_to(Path(named) / "load") for path in files)
    column("transcripts", len(files) - load)
    column("load", load)


def column(kind: str, run: int) -> None:
    """For the table of all runtimes, `tests/columns.py`."""
    named = os.environ.get("HERMETIC_COLUMNS")
    if named:
        Path(named).mkdir(parents=True, exist_ok=True)
        line = {"column": "Python", "kind": kind, "run": run, "skipped": {}}
        (Path(named) / f"Python-{kind}.json").write_text(json.dumps(line) + "\n")
