#!/usr/bin/env python3
"""Verifies the DKIM signatures of a message with dkimpy: dkim_verify.py ADDRESS PORT < message.

ADDRESS and PORT: the name server that has the keys. Prints a JSON list: of each signature, from the top, its selector, its
algorithm, and whether it is good; or why not.
"""
import json, sys

import dkim, dns.exception, dns.resolver

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [sys.argv[1]], int(sys.argv[2])


def txt(name, timeout=5):
    try:
        answer = resolver.resolve(name.decode().rstrip(".") + ".", "TXT", lifetime=timeout)
    except dns.exception.DNSException:
        return None
    return b"".join(answer[0].strings)


message = sys.stdin.buffer.read()
verifier = dkim.DKIM(message)
count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
found = []
for index in range(count):
    verifier = dkim.DKIM(message)
    try:
        good, why = verifier.verify(idx=index, dnsfunc=txt), ""
    except dkim.DKIMException as error:
        good, why = False, str(error)
    fields = {key.decode(): value.decode() for key, value in verifier.signature_fields.items()}
    found.append({"selector": fields.get("s"), "algorithm": fields.get("a"), "good": good, "why": why})
print(json.dumps(found))
