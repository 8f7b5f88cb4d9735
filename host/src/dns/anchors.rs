//! The keys with which the checking of signatures begins.
//!
//! Owns what an operator's file means beside the keys of the real root. Refuses to fetch or renew keys. Fails with what
//! is wrong in the file.

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
    let lines = || text.lines().map(|line| line.split(';').next().unwrap_or_default()).filter(|l| !l.trim().is_empty());
    if lines().next().is_none() {
        return Err(format!("there is no key; {form}"));
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const KEY: &str =
        "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

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
