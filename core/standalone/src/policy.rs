//! The answers to the core's questions: mail for the domains that were named, and nothing else.
//!
//! Owns who is accepted. Refuses to keep anything: whether a message could be kept is answered where it is kept.

use std::collections::BTreeSet;

use hermetic_core::address::{ForwardPath, HostName};
use hermetic_core::question::{Decision, Refusal};

/// The domains whose mail is accepted.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    any: bool,
    /// In lower case.
    names: BTreeSet<String>,
}

impl Domains {
    /// One more. `*`: any.
    pub(crate) fn add(&mut self, name: &str) {
        match name {
            "*" => self.any = true,
            _ => drop(self.names.insert(name.to_ascii_lowercase())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any && self.names.is_empty()
    }

    /// May this recipient have mail here? Postmaster always may (RFC 5321 section 4.5.1).
    pub(crate) fn decide(&self, path: &ForwardPath) -> Decision {
        let ForwardPath::Mailbox(mailbox) = path else { return Ok(None) };
        let ours = match &mailbox.host {
            _ if self.any => true,
            HostName::Domain(name) => self.names.contains(&name.to_ascii_lowercase()),
            HostName::Literal(literal) => self.names.contains(&format!("[{}]", literal.to_ascii_lowercase())),
        };
        if ours { Ok(None) } else { Err(refusal(550, 7, 1, "No mail for this domain is accepted here")) }
    }

    /// For people.
    pub(crate) fn listed(&self) -> String {
        if self.any {
            return "any domain".into();
        }
        self.names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// The class of the enhanced code follows from the code's.
pub(crate) fn refusal(code: u16, subject: u16, detail: u16, text: &str) -> Refusal {
    Refusal { code, subject, detail, text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hermetic_core::address::Mailbox;

    #[test]
    fn only_the_domains_that_were_named_are_accepted() {
        let check = |names: &[&str], host: HostName, accepted: bool| {
            let mut domains = Domains::default();
            names.iter().for_each(|name| domains.add(name));
            let path = ForwardPath::Mailbox(Mailbox { local: "a".into(), host: host.clone() });
            assert_eq!(domains.decide(&path).is_ok(), accepted, "{names:?} {host:?}");
            assert!(domains.decide(&ForwardPath::Postmaster).is_ok());
        };
        let domain = |name: &str| HostName::Domain(name.into());
        check(&["Example.test", "b.test"], domain("eXample.test"), true);
        check(&["example.test"], domain("sub.example.test"), false);
        check(&["example.test"], domain("test"), false);
        check(&["example.test"], HostName::Literal("192.0.2.1".into()), false);
        check(&["[192.0.2.1]"], HostName::Literal("192.0.2.1".into()), true);
        check(&["*"], domain("anything.test"), true);
    }
}
