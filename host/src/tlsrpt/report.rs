//! A report: JSON in gzip (RFC 8460 sections 4.4 and 5.2), and the message that brings it (section 5.3).
//!
//! Owns their form. Refuses to know where they go. Cannot fail but by the memory running out.
//!
//! `mail-auth` has a model of reports too. It writes `null` for what is not known, where the RFC has the field left out, and a
//! Report-ID that is no msg-id in the subject.

use std::io::{self, Write as _};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use mail_builder::{
    MessageBuilder,
    headers::{content_type::ContentType, date::Date, raw::Raw},
    mime::{BodyPart, MimePart},
};
use serde::Serialize;

use super::counts::Tally;

/// Media type of what [`Report::packed`] returns (section 6.4).
pub const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// All that a report says.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Who reports, for people.
    pub organization: &'a str,
    /// Whom to ask.
    pub contact: &'a str,
    /// The author's address.
    pub from: &'a str,
    /// Its domain, in A-labels.
    pub submitter: &'a str,
    /// The domain that the mail was for, in A-labels.
    pub domain: &'a str,
    /// Names the report: letters, digits and hyphens.
    pub id: &'a str,
    /// Days since 1970, in UTC.
    pub day: u64,
    /// What there is to say.
    pub policies: &'a [Tally],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Json<'a> {
    organization_name: &'a str,
    date_range: Range,
    contact_info: &'a str,
    report_id: String,
    policies: &'a [Tally],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Range {
    start_datetime: String,
    end_datetime: String,
}

impl Report<'_> {
    /// The first and the last second of its day.
    fn range(&self) -> (i64, i64) {
        let start = i64::try_from(self.day.saturating_mul(86_400)).unwrap_or_default();
        (start, start.saturating_add(86_399))
    }

    /// Without its angle brackets: of the form of a Message-ID (section 5.3).
    fn message_id(&self) -> String {
        format!("{}@{}", self.id, self.submitter)
    }

    /// The report in gzip. The same report is always the same octets.
    ///
    /// # Errors
    /// None that a report could cause.
    pub fn packed(&self) -> io::Result<Vec<u8>> {
        let (start, end) = self.range();
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default().to_string();
        let json = Json {
            organization_name: self.organization,
            date_range: Range { start_datetime: time(start), end_datetime: time(end) },
            contact_info: self.contact,
            report_id: self.message_id(),
            policies: self.policies,
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&serde_json::to_vec(&json)?)?;
        encoder.finish()
    }

    /// The message for this address, at this time (seconds since 1970). The signature comes when it leaves.
    ///
    /// # Errors
    /// None that a report could cause.
    pub fn message(&self, to: &str, packed: &[u8], now: u64) -> io::Result<Vec<u8>> {
        let (start, end) = self.range();
        let (domain, submitter) = (self.domain, self.submitter);
        let id = self.message_id();
        let text = format!(
            "This is a report on TLS in mail from {} to {domain} (RFC 8460),\r\nfor {} in UTC.\r\n\r\nQuestions: {}\r\n",
            self.organization,
            Timestamp::from_second(start).unwrap_or_default().strftime("%Y-%m-%d"),
            self.contact
        );
        // Section 5.1.
        let name = format!("{submitter}!{domain}!{start}!{end}!{}.json.gz", self.id);
        MessageBuilder::new()
            .from(self.from)
            .to(to)
            .date(Date::new(i64::try_from(now).unwrap_or_default()))
            .message_id(id.as_str())
            .subject(format!("Report Domain: {domain} Submitter: {submitter} Report-ID: <{id}>"))
            .header("TLS-Report-Domain", Raw::new(domain))
            .header("TLS-Report-Submitter", Raw::new(submitter))
            // RFC 8460 section 3: it is delivered whatever is wrong with TLS. RFC 8689 section 5 says how.
            .header("TLS-Required", Raw::new("No"))
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .body(MimePart::new(
                ContentType::new("multipart/report").attribute("report-type", "tlsrpt"),
                BodyPart::Multipart(vec![
                    MimePart::new(
                        ContentType::new("text/plain").attribute("charset", "utf-8"),
                        BodyPart::Text(text.into()),
                    ),
                    MimePart::new(ContentType::new(MEDIA_TYPE), BodyPart::Binary(packed.into())).attachment(name),
                ]),
            ))
            .write_to_vec()
    }
}
