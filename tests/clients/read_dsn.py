#!/usr/bin/env python3
"""Reads a delivery status notification (RFC 3464) with Python's email package: read_dsn.py < message.

Prints a JSON object: the fields of the message and of each recipient, by lower-case name, and the type of what came back.
Exits 1, with the reason, when it is none.
"""
import email, email.policy, json, sys


def need(so, what):
    if not so:
        sys.exit(f"this is no delivery status notification: {what}")


message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.SMTPUTF8)
defects = [repr(defect) for part in message.walk() for defect in part.defects]
need(not defects, f"defects: {defects}")
need(message.get_content_type() == "multipart/report", message.get_content_type())
kind = message["Content-Type"].params.get("report-type")
need(kind in ("delivery-status", "global-delivery-status"), f"report-type {kind}")
parts = list(message.iter_parts())
need(len(parts) in (2, 3), f"{len(parts)} parts")
text, status, *rest = parts
need(text.get_content_type() == "text/plain", f"the first part is {text.get_content_type()}")
need(status.get_content_type() in ("message/delivery-status", "message/global-delivery-status"), status.get_content_type())
blocks = [{name.lower(): " ".join(value.split()) for name, value in block.items()} for block in status.get_payload()]
# The package makes a last, empty block of the blank line at the end.
blocks = [block for block in blocks if block]
need(len(blocks) >= 2, f"{len(blocks)} blocks of fields")
print(json.dumps({
    "return-path": message.get("Return-Path", ""),
    "subject": message["Subject"],
    "text": text.get_content(),
    "message": blocks[0],
    "recipients": blocks[1:],
    "returned": [part.get_content_type() for part in rest],
}))
