//! Which domains there are, how they protect their mail, and what becomes of it.

/// Who answers at a host's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Postfix,
    Exim,
    OpenSmtpd,
    /// Postfix with a certificate that is out of date.
    Expired,
    /// Postfix with a certificate for another name.
    Stranger,
    /// Postfix behind somebody who hides STARTTLS.
    Stripped,
    /// Postfix behind somebody who answers STARTTLS.
    Refusing,
}

/// What the DNS says of a host's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tlsa {
    Nothing,
    /// DANE-EE: its key.
    Key,
    /// DANE-TA: the authority.
    Authority,
    /// DANE-EE: the key of somebody else.
    Wrong,
    /// A usage that is not for SMTP.
    OfWeb,
    /// It is in a zone that is not signed as its parent says.
    Forged,
}

/// How the domain leads to its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `mx1.DOMAIN`, `mx2.DOMAIN`, in order.
    Exchangers,
    /// The same, and each of them is an alias (CNAME) of `host1.DOMAIN`, `host2.DOMAIN`, whose certificates the DNS speaks of.
    Aliases,
    /// Its own address (RFC 5321 section 5.1).
    Address,
    /// It takes no mail (RFC 7505).
    NullMx,
    /// There is no such domain.
    Nowhere,
}

/// What becomes of mail for the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It arrives there inside TLS.
    Sealed(Peer),
    /// It arrives there in the open.
    Open(Peer),
    /// It waits, with these words among the reasons; in the end its sender hears them.
    Waits(&'static str),
    /// It comes back at once, with this status and these words.
    Back(&'static str, &'static str),
}

pub(crate) struct Case {
    /// Below `secure`, which is signed; `plain`, which is not; or `forged`, whose signatures do not fit.
    pub(crate) domain: &'static str,
    pub(crate) way: Way,
    pub(crate) hosts: &'static [(Peer, Tlsa)],
    /// MTA-STS: the mode, and the label of the host that it names.
    pub(crate) policy: Option<(&'static str, &'static str)>,
    pub(crate) end: End,
}

const fn case(domain: &'static str, hosts: &'static [(Peer, Tlsa)], end: End) -> Case {
    Case { domain, way: Way::Exchangers, hosts, policy: None, end }
}

const fn sts(
    domain: &'static str,
    hosts: &'static [(Peer, Tlsa)],
    mode: &'static str,
    mx: &'static str,
    end: End,
) -> Case {
    Case { domain, way: Way::Exchangers, hosts, policy: Some((mode, mx)), end }
}

const fn by(domain: &'static str, way: Way, hosts: &'static [(Peer, Tlsa)], end: End) -> Case {
    Case { domain, way, hosts, policy: None, end }
}

use End::{Back, Open, Sealed, Waits};
use Peer::{Exim, Expired, OpenSmtpd, Postfix, Refusing, Stranger, Stripped};
use Tlsa::{Authority, Forged, Key, Nothing, OfWeb, Wrong};

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // DANE (RFC 7672).
    case("postfix.secure", &[(Postfix, Key)], Sealed(Postfix)),
    case("exim.secure", &[(Exim, Key)], Sealed(Exim)),
    case("opensmtpd.secure", &[(OpenSmtpd, Key)], Sealed(OpenSmtpd)),
    case("ta-postfix.secure", &[(Postfix, Authority)], Sealed(Postfix)),
    case("ta-exim.secure", &[(Exim, Authority)], Sealed(Exim)),
    case("ta-opensmtpd.secure", &[(OpenSmtpd, Authority)], Sealed(OpenSmtpd)),
    case("ee-expired.secure", &[(Expired, Key)], Sealed(Expired)),
    case("ee-stranger.secure", &[(Stranger, Key)], Sealed(Stranger)),
    case("ta-expired.secure", &[(Expired, Authority)], Waits("mx1.ta-expired.secure: DANE: the certificate below the trust anchor is not good for mx1.ta-expired.secure or ta-expired.secure: invalid peer certificate: certificate expired")),
    case("ta-stranger.secure", &[(Stranger, Authority)], Waits("mx1.ta-stranger.secure: DANE: the certificate below the trust anchor is not good for")),
    case("wrong.secure", &[(Postfix, Wrong)], Waits("mx1.wrong.secure: DANE: no TLSA record fits the server's certificate")),
    case("second.secure", &[(Postfix, Wrong), (Exim, Key)], Sealed(Exim)),
    case("of-web.secure", &[(Stranger, OfWeb)], Sealed(Stranger)),
    case("of-web-stripped.secure", &[(Stripped, OfWeb)], Waits("mx1.of-web-stripped.secure: DANE asks for TLS: STARTTLS is not offered")),
    case("stripped.secure", &[(Stripped, Key)], Waits("mx1.stripped.secure: DANE asks for TLS: STARTTLS is not offered")),
    case("refusing.secure", &[(Refusing, Key)], Waits("mx1.refusing.secure: DANE asks for TLS: the peer refuses: 454")),
    case("forged-tlsa.secure", &[(Postfix, Forged)], Waits("DANE: the TLSA records of mx1.forged-tlsa.secure: the answer is not signed as it should be (DNSSEC)")),
    by("direct.secure", Way::Address, &[(Postfix, Key)], Sealed(Postfix)),
    by("alias.secure", Way::Aliases, &[(Postfix, Authority)], Sealed(Postfix)),
    by("alias-stripped.secure", Way::Aliases, &[(Stripped, Key)], Waits("mx1.alias-stripped.secure: DANE asks for TLS: STARTTLS is not offered")),
    by("direct-wrong.secure", Way::Address, &[(Postfix, Wrong)], Waits("direct-wrong.secure: DANE: no TLSA record fits")),
    // Neither, or what does not count.
    case("open.secure", &[(Stranger, Nothing)], Sealed(Stranger)),
    case("open.plain", &[(Expired, Nothing)], Sealed(Expired)),
    case("stripped.plain", &[(Stripped, Nothing)], Open(Postfix)),
    case("refusing.plain", &[(Refusing, Nothing)], Open(Postfix)),
    case("tlsa.plain", &[(Postfix, Wrong)], Sealed(Postfix)),
    // MTA-STS (RFC 8461).
    sts("sts-postfix.plain", &[(Postfix, Nothing)], "enforce", "mx1", Sealed(Postfix)),
    sts("sts-exim.plain", &[(Exim, Nothing)], "enforce", "mx1", Sealed(Exim)),
    sts("sts-opensmtpd.plain", &[(OpenSmtpd, Nothing)], "enforce", "*", Sealed(OpenSmtpd)),
    sts("sts-expired.plain", &[(Expired, Nothing)], "enforce", "mx1", Waits("mx1.sts-expired.plain: MTA-STS: the certificate is not one that this machine trusts for mx1.sts-expired.plain: invalid peer certificate: certificate expired")),
    sts("sts-stranger.plain", &[(Stranger, Nothing)], "enforce", "mx1", Waits("mx1.sts-stranger.plain: MTA-STS: the certificate is not one that this machine trusts for mx1.sts-stranger.plain")),
    sts("sts-stripped.plain", &[(Stripped, Nothing)], "enforce", "mx1", Waits("mx1.sts-stripped.plain: MTA-STS asks for TLS: STARTTLS is not offered")),
    sts("sts-refusing.plain", &[(Refusing, Nothing)], "enforce", "mx1", Waits("mx1.sts-refusing.plain: MTA-STS asks for TLS: the peer refuses: 454")),
    sts("sts-mismatch.plain", &[(Postfix, Nothing)], "enforce", "mx9", Waits("MTA-STS: the policy of sts-mismatch.plain does not name mx1.sts-mismatch.plain")),
    sts("sts-second.plain", &[(Expired, Nothing), (Exim, Nothing)], "enforce", "*", Sealed(Exim)),
    sts("sts-testing.plain", &[(Expired, Nothing)], "testing", "mx9", Sealed(Expired)),
    sts("sts-and-dane.secure", &[(Expired, Key)], "enforce", "mx9", Sealed(Expired)),
    // The DNS itself.
    case("any.forged", &[(Postfix, Key)], Waits("the mail exchangers of any.forged: the answer is not signed as it should be (DNSSEC)")),
    by("null.secure", Way::NullMx, &[], Back("5.1.10", "null.secure takes no mail (null MX)")),
    by("nowhere.secure", Way::Nowhere, &[], Back("5.1.2", "there is no domain nowhere.secure")),
    by("nowhere.plain", Way::Nowhere, &[], Back("5.1.2", "there is no domain nowhere.plain")),
];
