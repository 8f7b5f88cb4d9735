"""Reads notices with Python's parser: from standard input, each behind its length and a newline; one line of JSON for each."""

import email
import json
import re
import sys


def text(value):
    return re.sub(r"\r?\n(?=[ \t])", "", str(value)).encode("utf-8", "surrogateescape").decode("utf-8")


def fields(message):
    return {name: text(value) for name, value in message.raw_items()}


def groups(part):
    if part.get_content_type() == "message/delivery-status":
        return [fields(group) for group in part.get_payload()]
    # The parser has no such type: it sees a message whose header is the first group.
    first = part.get_payload(0)
    rest = first.get_payload(decode=True).strip().split(b"\r\n\r\n")
    return [fields(first)] + [fields(email.message_from_bytes(group)) for group in rest]


stream = sys.stdin.buffer
while length := stream.readline():
    message = email.message_from_bytes(stream.read(int(length)))
    parts = message.get_payload()
    defects = [repr(defect) for part in message.walk() for defect in part.defects]
    print(
        json.dumps(
            {
                "defects": defects,
                "types": [message.get_content_type()] + [part.get_content_type() for part in parts],
                "report": message.get_param("report-type"),
                "groups": groups(parts[1]),
            }
        )
    )
