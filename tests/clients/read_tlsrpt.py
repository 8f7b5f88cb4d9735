"""Reads a TLS report (RFC 8460) from a message on standard input, with nothing but Python's own libraries.

Prints the header fields that matter and the report as JSON. Fails if the message does not have the form of section 5.3.
"""

import email
import email.policy
import gzip
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
assert message.get_content_type() == "multipart/report", message.get_content_type()
assert message.get_param("report-type") == "tlsrpt", message["content-type"]
words, report = message.iter_parts()
assert words.get_content_type() == "text/plain"
assert report.get_content_type() == "application/tlsrpt+gzip"
assert not message.defects and not report.defects
fields = ["from", "to", "subject", "message-id", "tls-report-domain", "tls-report-submitter", "tls-required"]
print(json.dumps({
    **{name: message[name] for name in fields},
    "file": report.get_filename(),
    "report": json.loads(gzip.decompress(report.get_content())),
}))
