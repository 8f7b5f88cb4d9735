//! Where a recipient's mail goes instead: forwarding and quarantine.

use super::{Code, Guest, fault};
use crate::plugin::{
    bindings::hermetic::plugin::{forwarding, quarantine, types::Fault},
    reason::clean,
};

/// Recipients instead of, or beside, one.
const RECIPIENTS: usize = 100;
/// Octets of an address (RFC 5321 section 4.5.3.1: a local part, the at sign and a domain).
const ADDRESS: usize = 320;
/// Octets of the operator's reason.
const WHY: usize = 400;

/// An address of a domain that the grant lists; `*` is any. What could be taken for more than one address is refused.
fn granted(domains: &[String], address: &str) -> Result<(), Fault> {
    let odd = |c: char| {
        c.is_control()
            || c.is_whitespace()
            || matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\' | '[' | ']')
    };
    let ats = address.matches('@').count();
    let ends = address.starts_with('@') || address.ends_with('@');
    if address.len() > ADDRESS || address.chars().any(odd) || ats != 1 || ends {
        return Err(fault(Code::Invalid, format!("not a plain address: {}", clean(address, 80))));
    }
    let lower = address.to_lowercase();
    let allows = |domain: &String| domain == "*" || lower.ends_with(&format!("@{}", domain.to_lowercase()));
    if !domains.iter().any(allows) {
        return Err(fault(Code::NotGranted, format!("grants.forwarding does not list the domain of {address}")));
    }
    Ok(())
}

impl forwarding::Host for Guest {
    fn redirect(&mut self, to: Vec<String>) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("forwarding.redirect", |guest| {
            guest.for_one_recipient()?;
            if to.is_empty() || to.len() > RECIPIENTS {
                return Err(fault(Code::Limit, format!("1 to {RECIPIENTS} addresses")));
            }
            to.iter().try_for_each(|address| granted(&guest.transaction.settings.grants.forwarding, address))?;
            guest.call.wishes.redirect = Some(to);
            Ok(())
        })
    }

    fn add(&mut self, to: String) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("forwarding.add", |guest| {
            guest.for_one_recipient()?;
            granted(&guest.transaction.settings.grants.forwarding, &to)?;
            if guest.call.wishes.add.len() >= RECIPIENTS {
                return Err(fault(Code::Limit, format!("at most {RECIPIENTS} addresses")));
            }
            if !guest.call.wishes.add.contains(&to) {
                guest.call.wishes.add.push(to);
            }
            Ok(())
        })
    }
}

impl Guest {
    pub(super) fn for_one_recipient(&self) -> Result<(), Fault> {
        let several = || fault(Code::Unavailable, "this hook was not called for one recipient");
        self.call.forward.as_ref().map(drop).ok_or_else(several)
    }
}

impl quarantine::Host for Guest {
    fn keep(&mut self, why: String) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("quarantine.keep", |guest| {
            guest.for_one_recipient()?;
            if !guest.transaction.settings.grants.quarantine {
                return Err(fault(Code::NotGranted, "grants.quarantine is not set"));
            }
            let why = clean(&why, WHY);
            let why = if why.is_empty() { format!("{} said so", guest.transaction.settings.name) } else { why };
            guest.call.wishes.quarantine = Some(why);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_mail_may_go() {
        let check = |domains: &[&str], address: &str, expected: Option<u16>| {
            let domains: Vec<_> = domains.iter().map(|domain| (*domain).to_owned()).collect();
            assert_eq!(granted(&domains, address).err().map(|fault| fault.code), expected, "{address:?}");
        };
        check(&["example.org"], "anna@example.org", None);
        check(&["example.org"], "Anna@EXAMPLE.org", None);
        check(&["*"], "anna@anywhere.example", None);
        check(&["example.org"], "anna@other.example", Some(1));
        check(&["example.org"], "anna@sub.example.org", Some(1));
        check(&["example.org"], "anna@badexample.org", Some(1));
        check(&[], "anna@example.org", Some(1));
        for bad in [
            "",
            "anna",
            "@example.org",
            "anna@",
            "a@x.example,b@example.org",
            "a@b@example.org",
            "a b@example.org",
            "a\r\n@example.org",
            "<a@example.org>",
        ] {
            check(&["example.org"], bad, Some(2));
        }
    }
}
