//! The keys with which the checking of signatures begins.
//!
//! Owns what an operator's file means beside the keys of the real root, and which of its keys count where whoever renews them
//! (RFC 5011) has noted what is known of each. Refuses to fetch or renew keys. Fails with what is wrong in the file.

use std::{fs, path::Path};

use hickory_resolver::proto::dnssec::TrustAnchors;

/// Those of the file. If it has none for the root, those of the real root too, so that a private domain can be signed
/// beside the rest of the world.
///
/// # Errors
/// The file, in words.
pub(super) fn read(file: &Path) -> Result<TrustAnchors, String> {
    let wrong = |why: String| format!("{}: {why}", file.display());
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<TrustAnchors, String> {
    let form = "write DNSKEY records, such as `example.org. IN DNSKEY 257 3 13 mdsswUyr3DPW...`";
    // The parser says nothing of a file without records, nor of which line it does not like.
    let record = |line| str::split(line, ';').next().unwrap_or_default();
    let all = || text.lines().filter(|line| !record(line).trim().is_empty());
    let lines = || all().filter(|line| counts(line)).map(record);
    match (all().next(), lines().next()) {
        (None, _) => return Err(format!("there is no key; {form}")),
        (_, None) => return Err("all keys are revoked, removed or not valid yet; put one there that counts".into()),
        _ => {}
    }
    let whole = lines().collect::<Vec<_>>().join("\n") + "\n";
    let mut anchors: TrustAnchors = whole.parse().map_err(|error| format!("{error}; {form}"))?;
    if anchors.is_empty() {
        let real = TrustAnchors::default();
        for key in (0..real.len()).filter_map(|index| real.get(index)) {
            anchors.insert(key);
        }
    }
    Ok(anchors)
}

/// The bit of a key that was taken back by its owner (RFC 5011 section 3).
const REVOKED: u16 = 0x80;

/// A key is trusted unless it was taken back, or `unbound` has noted behind it that it is not valid: of the states of RFC 5011
/// section 4.2 (in its file 0: start, 1: add pending, 2: valid, 3: missing, 4: revoked, 5: removed) those who are valid count,
/// and those who only were not seen of late.
fn counts(line: &str) -> bool {
    let (record, comment) = line.split_once(';').unwrap_or((line, ""));
    let state = comment.split_once("state=").and_then(|(_, rest)| rest.trim_start().chars().next());
    let mut words = record.split_ascii_whitespace().skip_while(|word| !word.eq_ignore_ascii_case("DNSKEY")).skip(1);
    let flags = words.next().and_then(|flags| flags.parse::<u16>().ok()).unwrap_or_default();
    state.is_none_or(|state| matches!(state, '2' | '3')) && flags & REVOKED == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const KEY: &str =
        "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

    /// Another one for each number.
    fn key(number: u8) -> String {
        KEY.replacen("mdss", &format!("mds{number}"), 1)
    }

    #[test]
    fn what_a_file_means() {
        for (text, roots) in [
            (format!(". IN DNSKEY {KEY}\n"), Ok(1)),
            (
                format!(
                    "; autotrust trust anchor file\n.\t86400\tIN\tDNSKEY\t{KEY} ;{{id = 1}} ;;state=2 [  VALID  ]\n"
                ),
                Ok(1),
            ),
            (
                [0, 1, 2, 3, 4, 5]
                    .map(|state| format!(". IN DNSKEY {} ;{{id = 1}} ;;state={state} [ X ]\n", key(state)))
                    .concat(),
                Ok(2),
            ),
            (format!(". IN DNSKEY {KEY} ;;state=1 [ ADDPEND ]\n"), Err("revoked, removed or not valid yet")),
            (format!(". IN DNSKEY {}\n", KEY.replace("257", "385")), Err("revoked, removed or not valid yet")),
            (format!(". IN DNSKEY {}\n. IN DNSKEY {}\n", KEY.replace("257", "385"), key(7)), Ok(1)),
            (format!("example.org. IN DNSKEY {KEY}"), Ok(2)),
            (format!("example.org. 3600 IN DNSKEY {KEY}\n\n. IN DNSKEY {KEY}\n"), Ok(1)),
            ("; nothing\n\n".into(), Err("there is no key")),
            (String::new(), Err("there is no key")),
            (
                ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n".into(),
                Err("write DNSKEY"),
            ),
            (". IN DNSKEY 257 3 13 ???\n".into(), Err("write DNSKEY")),
            ("-----BEGIN CERTIFICATE-----\n".into(), Err("write DNSKEY")),
        ] {
            match (parse(&text), roots) {
                (Ok(anchors), Ok(roots)) => assert_eq!(anchors.len(), roots, "{text}"),
                (Err(why), Err(words)) => assert!(why.contains(words), "{text}: {why}"),
                (found, _) => panic!("{text}: {:?} instead of {roots:?}", found.map(|anchors| anchors.len())),
            }
        }
        let gone = read(Path::new("/nowhere/keys")).map(drop).unwrap_err();
        assert!(gone.starts_with("/nowhere/keys: "), "{gone}");
    }
}
