//! What goes back of the sender's message: all of it, or its header.
//!
//! Owns the choice and the bounds. Refuses to read fields. Never fails.

use super::{Action, Notice};
use crate::store::ReturnContent;

/// Octets of a line without its end (RFC 5322 section 2.1.1).
const LINE: usize = 998;
/// Octets of a header that go back, at most, whatever the operator allows for the whole.
const HEADER: usize = 32 * 1024;

/// The third part.
pub(super) struct Original {
    pub(super) media_type: &'static str,
    pub(super) octets: Vec<u8>,
}

impl Original {
    /// RFC 3461 section 6.2: RET is about failures; of all else, and of what is too large, the header alone goes
    /// back. So it does where the message needs TLS (RFC 8689 section 5), and where it is binary, which a report can not hold.
    pub(super) fn of(notice: &Notice<'_>) -> Self {
        let (envelope, front) = (notice.envelope, notice.front);
        let full = notice.told.iter().any(|told| told.action == Action::Failed)
            && envelope.ret != Some(ReturnContent::Headers)
            && !envelope.require_tls
            && notice.whole
            && front.len() <= notice.most
            && is_lines(front);
        let utf8 = envelope.smtputf8;
        if full {
            let media_type = if utf8 { "message/global" } else { "message/rfc822" };
            return Self { media_type, octets: front.to_vec() };
        }
        let media_type = if utf8 { "message/global-headers" } else { "text/rfc822-headers" };
        Self { media_type, octets: header(front) }
    }
}

/// Lines of at most 998 octets with CRLF at their ends, without NUL.
fn is_lines(octets: &[u8]) -> bool {
    octets.is_empty()
        || (octets.ends_with(b"\r\n")
            && octets.split(|octet| *octet == b'\n').all(|line| {
                let text = line.strip_suffix(b"\r");
                (text.is_some() || line.is_empty())
                    && text.unwrap_or(line).len() <= LINE
                    && !line[..line.len().saturating_sub(1)].iter().any(|octet| matches!(octet, b'\r' | 0))
            }))
}

/// The lines of the header, each cut to what a line may have.
fn header(front: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in front.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() || out.len() + text.len() + 2 > HEADER {
            break;
        }
        let kept = &text[..text.len().min(LINE)];
        out.extend(kept.iter().map(|octet| if matches!(octet, b'\r' | 0) { b' ' } else { *octet }));
        out.extend_from_slice(b"\r\n");
    }
    out
}
