"""What `smtp_server` is for: the program's tests say what the server does, and look at what it got."""

from newsletter import send


def test_everybody_gets_it(smtp_server):
    assert send(smtp_server.host, smtp_server.port, "Issue 1", ["a@example.net", "b@example.net"]) == []
    assert [message.rcpt_tos for message in smtp_server.messages] == [["a@example.net"], ["b@example.net"]]
    assert smtp_server.messages[0].parsed()["Subject"] == "Issue 1"


def test_an_unknown_user_is_reported(smtp_server):
    smtp_server.refuse("b@example.net", 550, "5.1.1", "No such user")
    assert send(smtp_server.host, smtp_server.port, "Issue 2", ["a@example.net", "b@example.net"]) == ["b@example.net"]


def test_greylisting_is_survived(smtp_server):
    rule = smtp_server.refuse("a@example.net", 451, "4.7.1", "Come back later", times=1)
    assert send(smtp_server.host, smtp_server.port, "Issue 3", ["a@example.net"]) == []
    assert rule.used == 1
    assert len(smtp_server.messages) == 1


def test_a_connection_lost_in_the_middle_is_tried_again(smtp_server):
    smtp_server.drop(at="content", octets=10)
    assert send(smtp_server.host, smtp_server.port, "Issue 4", ["a@example.net"]) == []
    assert smtp_server.sessions == 2
    assert len(smtp_server.messages) == 1
