//! The commands a peer may send, parsed. One type for each, nothing left to decode.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::address::{ForwardPath, HostName, Mailbox};

/// One command line. RFC 5321 section 4.1.1 and the extensions' RFCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// HELO, EHLO or LHLO.
    Hello(Hello),
    /// MAIL FROM.
    Mail(Sender),
    /// RCPT TO.
    Rcpt(Recipient),
    /// DATA.
    Data,
    /// BDAT: so many octets follow. RFC 3030.
    Bdat {
        /// Octets of this chunk, saturated at `u64::MAX`.
        size: u64,
        /// This is the last chunk.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP, with or without an argument.
    Noop,
    /// VRFY and its argument.
    Vrfy(String),
    /// EXPN.
    Expn,
    /// HELP, with or without an argument.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS. RFC 3207.
    StartTls,
    /// AUTH: the mechanism in capitals and the initial response, base64 decoded (`=` is an empty one). RFC 4954.
    Auth {
        /// In capitals.
        mechanism: String,
        /// Decoded.
        initial: Option<Vec<u8>>,
    },
    /// XCLIENT. Attribute names in capitals, values decoded from xtext.
    Xclient(Vec<XclientAttribute>),
}

/// HELO, EHLO or LHLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloVerb {
    /// RFC 821.
    Helo,
    /// RFC 5321.
    Ehlo,
    /// RFC 2033.
    Lhlo,
}

/// How the peer said hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The verb.
    pub verb: HelloVerb,
    /// The argument, where it is a valid domain or address literal.
    pub host: Option<HostName>,
    /// What was sent, printable ASCII of at most 255 octets: anything else has been replaced by `?`.
    pub raw: String,
}

/// BODY=. RFC 6152, RFC 3030.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyKind {
    /// 7BIT, and the default.
    #[default]
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
    /// BINARYMIME: bare CR and LF are content, DATA is not allowed.
    BinaryMime,
}

/// RET=. RFC 3461 section 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReturnContent {
    /// FULL.
    Full,
    /// HDRS.
    Headers,
}

/// AUTH= of MAIL. RFC 4954 section 5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Submitter {
    /// `AUTH=<>`.
    Unknown,
    /// A mailbox, decoded from xtext.
    Mailbox(String),
}

/// HOLDFOR= or HOLDUNTIL=. RFC 4865 section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// So many seconds: 1 to 999999999.
    For(u32),
    /// Until this time: seconds since the Unix epoch. A fraction of a second has been rounded up.
    Until(u64),
}

/// What happens when the time of BY= is over. RFC 2852 section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByMode {
    /// `R`: the message goes back.
    Return,
    /// `N`: the sender is told, and the message is tried further.
    Notify,
}

/// BY=, with the time that is left. RFC 2852 section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverBy {
    /// At most 9 digits; zero and below only with [`ByMode::Notify`].
    pub seconds: i32,
    /// What happens when it is over.
    pub mode: ByMode,
    /// `T`: notices of each relay.
    pub trace: bool,
}

/// The parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailParameters {
    /// SIZE=, saturated at `u64::MAX`. RFC 1870.
    pub size: Option<u64>,
    /// BODY=.
    pub body: BodyKind,
    /// SMTPUTF8. RFC 6531.
    pub smtputf8: bool,
    /// REQUIRETLS. RFC 8689.
    pub require_tls: bool,
    /// PRDR. draft-hall-prdr-00.
    pub prdr: bool,
    /// RET=.
    pub ret: Option<ReturnContent>,
    /// ENVID=, decoded from xtext, printable ASCII. RFC 3461 section 4.4.
    pub envid: Option<String>,
    /// AUTH=.
    pub auth: Option<Submitter>,
    /// HOLDFOR= or HOLDUNTIL=.
    pub hold: Option<Hold>,
    /// BY=.
    pub deliver_by: Option<DeliverBy>,
    /// MT-PRIORITY=, -9 to 9. RFC 6710.
    pub priority: Option<i8>,
}

/// MAIL: without a mailbox it is the null reverse-path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Absent for `<>`.
    pub mailbox: Option<Mailbox>,
    /// The parameters.
    pub parameters: MailParameters,
}

/// NOTIFY=. All false means NEVER. RFC 3461 section 4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// ORCPT=. RFC 3461 section 4.2, RFC 6533 section 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalRecipient {
    /// The address type in small letters, for example `rfc822` or `utf-8`.
    pub address_type: String,
    /// Decoded, without control characters; ASCII unless the type is `utf-8`.
    pub address: String,
}

/// RCPT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Where to.
    pub path: ForwardPath,
    /// NOTIFY=.
    pub notify: Option<Notify>,
    /// ORCPT=.
    pub orcpt: Option<OriginalRecipient>,
}

/// One attribute of XCLIENT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XclientAttribute {
    /// In capitals: NAME, ADDR, PORT, PROTO, HELO, LOGIN, DESTADDR or DESTPORT.
    pub name: String,
    /// Absent for `[UNAVAILABLE]` and `[TEMPUNAVAIL]`.
    pub value: Option<String>,
}
