//! What a transcript needs of whoever runs it: `N:`.
//!
//! Owns the names and how they follow from a transcript's lines, so that none can declare more or less than it uses. Fails
//! with what should be declared.

use std::collections::BTreeSet;

/// The names that `N:` may have, in their order, and what uses them.
pub const NAMES: [&str; 5] = ["tls", "policy", "clock", "options", "drain"];

/// What the lines above and below use, collected line by line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    used: BTreeSet<usize>,
    declared: Option<String>,
}

impl Needs {
    /// A line of the file. True: it was the declaration itself.
    pub(super) fn line(&mut self, tag: &str, rest: &str) -> bool {
        let need = match tag {
            "N" => {
                self.declared = Some(rest.to_owned());
                return true;
            }
            "TLS" => 0,
            "A" if !rest.split_once(' ').is_some_and(|(_, given)| given.split(" | ").all(|one| one == "yes")) => 1,
            "T" => 2,
            "O" => {
                if rest.replace(' ', "") == "implicit-tls=true" {
                    self.used.insert(0);
                }
                3
            }
            "D" => 4,
            _ => return false,
        };
        self.used.insert(need);
        false
    }

    /// What `N:` has to say.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.used {
            none if none.is_empty() => "nothing".into(),
            used => used.iter().map(|name| NAMES[*name]).collect::<Vec<_>>().join(" "),
        }
    }

    /// It says so.
    pub(super) fn check(&self) -> Result<(), String> {
        let text = self.text();
        match &self.declared {
            Some(declared) if *declared == text => Ok(()),
            Some(declared) => Err(format!("`N: {declared}` is declared, and used is `N: {text}`")),
            None => Err(format!("`N: {text}` is missing on top")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_has_to_be_declared() {
        let check = |lines: &[&str], expected: Result<(), &str>| {
            let mut needs = Needs::default();
            for line in lines {
                let (tag, rest) = line.split_once(':').unwrap_or((line, ""));
                needs.line(tag, rest.trim_start());
            }
            assert_eq!(needs.check(), expected.map_err(str::to_owned), "{lines:?}");
        };
        check(&["N: nothing", "S: 220", "A: sender yes", "A: recipients yes | yes"], Ok(()));
        check(
            &["N: tls policy clock options drain", "O: trace = true", "TLS:", "T: 5m", "A: verify unsure", "D: 421"],
            Ok(()),
        );
        check(&["N: tls options", "O: implicit-tls = true"], Ok(()));
        check(&["S: 220"], Err("`N: nothing` is missing on top"));
        check(
            &["N: nothing", "A: recipients yes | no 550 5.1.1 No"],
            Err("`N: nothing` is declared, and used is `N: policy`"),
        );
        check(&["N: clock", "S: 220"], Err("`N: clock` is declared, and used is `N: nothing`"));
        check(
            &["N: options tls", "O: implicit-tls = true"],
            Err("`N: options tls` is declared, and used is `N: tls options`"),
        );
    }
}
