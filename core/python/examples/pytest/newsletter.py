"""A program that sends mail, as somebody's program might."""

import smtplib
import time
from email.message import EmailMessage


def send(host: str, port: int, subject: str, recipients: list[str], pause: float = 0.1) -> list[str]:
    """Sends to each recipient, tries once more after a temporary refusal, and returns those that did not get it."""
    failed = []
    for recipient in recipients:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "news@example.org", recipient, subject
        message.set_content("It is here.")
        for attempt in (1, 2):
            try:
                with smtplib.SMTP(host, port, timeout=10) as client:
                    client.send_message(message)
                break
            except smtplib.SMTPRecipientsRefused as refused:
                (code, _), = refused.recipients.values()
                if code >= 500 or attempt == 2:
                    failed.append(recipient)
                    break
                time.sleep(pause)
            except (smtplib.SMTPException, OSError):
                if attempt == 2:
                    failed.append(recipient)
                time.sleep(pause)
    return failed
