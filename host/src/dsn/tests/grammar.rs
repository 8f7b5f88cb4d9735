//! The grammar of `message/delivery-status` (RFC 3464 section 2) and `message/global-delivery-status` (RFC 6533 sections 3
//! and 4), held to strictly. Written from the RFCs, without a word of the code that it checks.

use std::collections::BTreeMap;

/// Fields by name, unfolded.
pub(super) type Fields = BTreeMap<String, String>;

/// The fields about the message, and a group for each recipient. Fails with what the grammar forbids.
pub(super) fn parse(octets: &[u8], global: bool) -> Result<(Fields, Vec<Fields>), String> {
    let text = std::str::from_utf8(octets).map_err(|error| error.to_string())?;
    if !global && !text.is_ascii() {
        return Err("octets above 127".into());
    }
    let body = text.strip_suffix("\r\n").ok_or("no CRLF at the end")?;
    let mut groups = Vec::new();
    for group in body.split("\r\n\r\n") {
        groups.push(fields(group)?);
    }
    let message = groups.remove(0);
    if groups.is_empty() {
        return Err("no recipient".into());
    }
    check(&message, &["Reporting-MTA"], &["Original-Envelope-Id", "Received-From-MTA", "Arrival-Date"], global)?;
    for group in &groups {
        const OPTIONAL: [&str; 6] = [
            "Original-Recipient",
            "Remote-MTA",
            "Diagnostic-Code",
            "Last-Attempt-Date",
            "Final-Log-ID",
            "Will-Retry-Until",
        ];
        check(group, &["Final-Recipient", "Action", "Status"], &OPTIONAL, global)?;
        agree(group)?;
    }
    Ok((message, groups))
}

/// RFC 5322 section 2.2: names, values, folds.
fn fields(group: &str) -> Result<Fields, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in group.split("\r\n") {
        if line.len() > 998 || line.chars().any(|c| c.is_control()) {
            return Err(format!("no line: {line:?}"));
        }
        if let Some(more) = line.strip_prefix(' ') {
            let (_, value) = found.last_mut().ok_or("a fold without a field")?;
            if more.trim().is_empty() {
                return Err("an empty fold".into());
            }
            *value += line;
            continue;
        }
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("no field: {line:?}"))?;
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
            return Err(format!("no field name: {name:?}"));
        }
        found.push((name.into(), value.into()));
    }
    let n = found.len();
    let fields: Fields = found.into_iter().collect();
    if fields.len() == n { Ok(fields) } else { Err("a field twice".into()) }
}

fn check(fields: &Fields, required: &[&str], optional: &[&str], global: bool) -> Result<(), String> {
    for name in required {
        fields.get(*name).ok_or_else(|| format!("no {name}"))?;
    }
    for (name, value) in fields {
        if !required.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
            return Err(format!("{name} is not of this group"));
        }
        let good = match name.as_str() {
            "Reporting-MTA" | "Received-From-MTA" | "Remote-MTA" => mta(value),
            "Original-Recipient" | "Final-Recipient" => address(value, global),
            "Arrival-Date" | "Last-Attempt-Date" | "Will-Retry-Until" => date(value),
            "Action" => ["failed", "delayed", "delivered", "relayed", "expanded"].contains(&value.as_str()),
            "Status" => status(value),
            "Diagnostic-Code" => diagnostic(value),
            _ => !value.trim().is_empty(),
        };
        if !good {
            return Err(format!("{name}: {value:?}"));
        }
    }
    Ok(())
}

/// RFC 3464 sections 2.3.4 and 2.3.9: what one field says, another must not deny.
fn agree(group: &Fields) -> Result<(), String> {
    let class = match group["Action"].as_str() {
        "failed" => '5',
        "delayed" => '4',
        _ => '2',
    };
    if !group["Status"].starts_with(class) {
        return Err(format!("{} with {}", group["Action"], group["Status"]));
    }
    if group.contains_key("Will-Retry-Until") != (class == '4') {
        return Err(format!("Will-Retry-Until with {}", group["Action"]));
    }
    Ok(())
}

/// RFC 5322 section 3.2.3.
fn is_atom(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet))
}

/// `mta-name-type ";" mta-name`, of type `dns`: a name or literal, and perhaps a comment.
fn mta(value: &str) -> bool {
    let Some(("dns", name)) = value.split_once("; ") else { return false };
    let (name, comment) = name.split_once(' ').unwrap_or((name, "()"));
    let comment = comment.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
    !name.is_empty() && name.bytes().all(plain) && comment.is_some_and(|text| text.bytes().all(plain))
}

/// `address-type ";" generic-address`; the types `rfc822` and `utf-8` by their own grammars.
fn address(value: &str, global: bool) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    is_atom(kind)
        && match kind {
            "rfc822" => address.is_ascii() && is_mailbox(address),
            "utf-8" if global => is_mailbox(address),
            "utf-8" => is_mailbox(&decoded(address).unwrap_or_default()),
            _ => !address.trim().is_empty(),
        }
}

/// RFC 5321 section 4.1.2 and RFC 6531 section 3.3, without a look into literals; a bare `postmaster` too.
fn is_mailbox(text: &str) -> bool {
    let (local, rest) = match text.strip_prefix('"') {
        None => text.split_at(text.find('@').unwrap_or(text.len())),
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.find(|c| match (escaped, c) {
                (false, '"') => true,
                (false, '\\') => {
                    escaped = true;
                    false
                }
                _ => {
                    escaped = false;
                    false
                }
            });
            let Some(end) = end else { return false };
            text.split_at(end + 2)
        }
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    let good_local =
        local.starts_with('"') || local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(letter));
    let domain = rest.strip_prefix('@');
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii();
    let good_domain = match domain {
        None => rest.is_empty(),
        Some(domain) if domain.starts_with('[') => domain.ends_with(']'),
        Some(domain) => domain.split('.').all(|label| !label.is_empty() && label.chars().all(letter)),
    };
    good_local && good_domain
}

/// RFC 6533 section 3, utf-8-addr-xtext: what it stands for.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(more) = rest.strip_prefix("\\x{") {
            let (digits, more) = more.split_once('}')?;
            let upper = digits.bytes().all(|octet| octet.is_ascii_digit() || (b'A'..=b'F').contains(&octet));
            let point = u32::from_str_radix(digits, 16).ok().filter(|_| upper)?;
            // HEXPOINT: no more digits than it takes, and of ASCII only what can not be written.
            let needed = digits.len() == format!("{point:02X}").len();
            let allowed = point >= 0x80 || matches!(point, 0x01..=0x20 | 0x2b | 0x3d | 0x5c | 0x7f);
            out.push(char::from_u32(point).filter(|_| needed && allowed)?);
            rest = more;
            continue;
        }
        // QCHAR.
        if !matches!(c, '\x21'..='\x2a' | '\x2c'..='\x3c' | '\x3e'..='\x5b' | '\x5d'..='\x7e') {
            return None;
        }
        out.push(c);
        rest = &rest[1..];
    }
    Some(out)
}

/// `("2" / "4" / "5") "." 1*3digit "." 1*3digit`
fn status(value: &str) -> bool {
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    match value.split('.').collect::<Vec<_>>()[..] {
        [class, subject, detail] => ["2", "4", "5"].contains(&class) && number(subject) && number(detail),
        _ => false,
    }
}

/// `diagnostic-type ";" *text`; of type `smtp` a reply (section 9.2).
fn diagnostic(value: &str) -> bool {
    let Some((kind, text)) = value.split_once("; ") else { return false };
    let reply = || {
        let code = text.get(..3).unwrap_or_default();
        ["2", "4", "5"].iter().any(|class| code.starts_with(class))
            && code.bytes().all(|octet| octet.is_ascii_digit())
            && (text.len() == 3 || text[3..].starts_with(' '))
    };
    match kind {
        "smtp" => reply(),
        _ => kind.starts_with("x-") && is_atom(kind) && !text.trim().is_empty(),
    }
}

/// RFC 5322 section 3.3, without comments: `Tue, 14 Nov 2023 22:13:20 +0000`.
fn date(value: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = value.split(' ').collect();
    let [day, number, month, year, time, zone] = words[..] else { return false };
    let digits = |text: &str, length: usize, most: u32| {
        text.len() == length && text.bytes().all(|o| o.is_ascii_digit()) && text.parse::<u32>().unwrap() <= most
    };
    let clock: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = clock[..] else { return false };
    day.strip_suffix(',').is_some_and(|day| DAYS.contains(&day))
        && (digits(number, 1, 9) || digits(number, 2, 31))
        && MONTHS.contains(&month)
        && digits(year, 4, 9999)
        && digits(hour, 2, 23)
        && digits(minute, 2, 59)
        && digits(second, 2, 60)
        && zone.len() == 5
        && zone.starts_with(['+', '-'])
        && digits(&zone[1..], 4, 9959)
}

/// The checker itself: what it lets through and what it does not.
#[test]
fn the_checker_checks() {
    let good =
        "Reporting-MTA: dns; a.test\r\n\r\nFinal-Recipient: rfc822;a@b.test\r\nAction: failed\r\nStatus: 5.0.0\r\n";
    assert!(parse(good.as_bytes(), false).is_ok());
    for (from, to) in [
        ("\r\n\r\n", "\r\n"),
        ("Status: 5.0.0\r\n", ""),
        ("5.0.0", "4.0.0"),
        ("5.0.0", "5.0"),
        ("5.0.0", "5.0.1234"),
        ("failed", "lost"),
        ("Action", "Reaction"),
        ("rfc822;", "rfc822 "),
        ("a@b.test", "a b@b.test"),
        ("a@b.test", "ä@b.test"),
        ("rfc822;a@b.test", "utf-8;\\x{E}@b.test"),
        ("rfc822;a@b.test", "utf-8;a+c@b.test"),
        ("rfc822;a@b.test", "utf-8;\\x{41}@b.test"),
        ("dns; a.test", "dns a.test"),
        ("dns; a.test", "dns; a test"),
        ("Action:", "Action: failed\r\nAction:"),
        ("Status:", "Diagnostic-Code: smtp; no reply\r\nStatus:"),
        ("Status:", "Diagnostic-Code: smtp; 550\r\n\tfolded\r\nStatus:"),
        ("Status:", "Last-Attempt-Date: 2023-11-14\r\nStatus:"),
        ("Status:", "Will-Retry-Until: Tue, 14 Nov 2023 22:13:20 +0000\r\nStatus:"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(parse(bad.as_bytes(), false).is_err(), "{bad}");
    }
}
