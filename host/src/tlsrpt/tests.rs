//! A day that ends, and what becomes of its reports; a process that dies at each step.

use std::{collections::BTreeMap, io::Read as _, path::Path, sync::Arc};

use flate2::read::GzDecoder;
use hyper::Request;
use mail_parser::{MessageParser, MimeHeaders as _};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    book::{Destination, FILE, State},
    *,
};
use crate::{
    config::{Config, TlsReports},
    dns::{Resolver, Told},
    observe::Metrics,
    store::{Address, Content, EntryId, Filter, Listed, MessageId, Route, Store, sqlite::SqliteStore},
    transport::http::{Client, HttpError, Pieces, Response},
};

/// A day, and moments of the next one.
const DAY: u64 = 20_785;
const NOON: u64 = DAY * 86_400 + 43_200;
const EVENING: u64 = (DAY + 1) * 86_400 + 14_400;

type Posts = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

struct Rig {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    counts: Arc<Counts>,
    reporter: Reporter,
    config: Config,
    posts: Posts,
}

/// What the web server answers.
type Status = Arc<dyn Fn() -> Result<u16, HttpError> + Send + Sync>;

fn names() -> BTreeMap<String, Told> {
    toml::from_str(
        "'_smtp._tls.mail.example' = { txt = ['v=TLSRPTv1; rua=mailto:tls@reports.example'] }
         '_smtp._tls.web.example' = { txt = ['v=TLSRPTv1; rua=https://web.example/post?key=41,mailto:tls@web.example'] }
         '_smtp._tls.inside.example' = { txt = ['v=TLSRPTv1; rua=https://inside.example/'] }
         '_smtp._tls.silent.example' = { unavailable = true }
         'web.example' = { addresses = ['8.8.8.8'] }
         'inside.example' = { addresses = ['127.0.0.1', '10.0.0.1'] }",
    )
    .unwrap()
}

impl Rig {
    fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), Arc::new(|| Ok(201)))
    }

    fn with(folder: tempfile::TempDir, status: Status) -> Self {
        let store = SqliteStore::open(folder.path(), 0, Metrics::new()).unwrap();
        let counts = Arc::new(Counts::default());
        counts.want(true);
        let posts = Posts::default();
        let seen = posts.clone();
        let client = Client::told(Arc::new(move |tls: bool, request: &Request<Pieces>| {
            assert!(tls && request.method() == "POST");
            let field = |name: &'static str| request.headers().get(name).unwrap().to_str().unwrap();
            assert_eq!(field("content-type"), "application/tlsrpt+gzip");
            seen.lock().push((format!("{}{}", field("host"), request.uri()), Vec::new()));
            let status = status()?;
            Ok(Response { status, fields: Vec::new(), body: Vec::new() })
        }));
        let ways = Ways {
            place: Box::new(|address: &Address| match &*address.domain {
                "web.example" => Ok(Route::Local(address.to_string())),
                _ => Ok(Route::Relay),
            }),
            client: Box::new(move || client.clone()),
        };
        let resolver = Resolver::told(&names()).unwrap();
        let reporter =
            Reporter::open(folder.path(), counts.clone(), store.clone(), resolver, ways, Metrics::new()).unwrap();
        let tls_reports = TlsReports {
            from: Some("tls-reports@us.example".into()),
            organization: Some("We & Co.".into()),
            contact: None,
        };
        let config = Config { name: "mx.us.example".into(), tls_reports, ..Config::default() };
        Self { folder, store, counts, reporter, config, posts }
    }

    /// As after a crash: what is on the disk is there.
    async fn restart(self) -> Self {
        let Self { folder, store, reporter, .. } = self;
        drop(reporter);
        store.close().await;
        drop(store);
        Self::with(folder, Arc::new(|| Ok(200)))
    }

    fn count(&self, domain: &str, result: Option<ResultType>) {
        let policy = Policy {
            kind: PolicyType::Sts,
            text: vec!["version: STSv1".into(), "mode: testing".into(), "mx: *.far.example".into()],
            domain: domain.into(),
            hosts: vec!["*.far.example".into()],
        };
        let failure = result.map(|result| Failure {
            result,
            from: Some([192, 0, 2, 1].into()),
            host: Some("mx.far.example".into()),
            to: Some([192, 0, 2, 2].into()),
            reason: Some("why".into()),
        });
        self.counts.count(domain, Session { policy, failure }, NOON);
    }

    async fn turn(&self, now: u64) {
        self.reporter.turn(&self.config, now).await;
    }

    async fn queued(&self) -> Vec<Listed> {
        self.store.find(Filter::default(), None, 100).await.unwrap().entries
    }

    fn pages(&self) -> u64 {
        let file = rusqlite::Connection::open(self.folder.path().join(FILE)).unwrap();
        file.query_row("SELECT count(*) FROM page", (), |row| row.get(0)).unwrap()
    }
}

async fn content(store: &SqliteStore, listed: &Listed) -> Vec<u8> {
    let id: MessageId = listed.entry.split('.').next().unwrap().parse().unwrap();
    match store.body(id).await.unwrap().content {
        Content::Inline(octets) => octets,
        Content::File(_) => panic!("a large report"),
    }
}

#[tokio::test]
async fn a_day_ends() {
    let rig = Rig::new();
    for result in [None, None, Some(ResultType::CertificateExpired), Some(ResultType::CertificateExpired)] {
        rig.count("mail.example", result);
    }
    rig.count("nobody.example", None);
    rig.count("inside.example", None);
    rig.turn(NOON).await;
    rig.count("mail.example", None);
    rig.turn((DAY + 1) * 86_400 - 1).await;
    rig.turn((DAY + 1) * 86_400 + 60).await;
    assert!(rig.queued().await.is_empty(), "not before its time");
    assert_eq!(rig.pages(), 3);
    rig.turn(EVENING).await;
    let queued = rig.queued().await;
    assert_eq!(queued.len(), 1, "{queued:?}");
    assert_eq!((&*queued[0].recipient, &*queued[0].state), ("tls@reports.example", "queued"));
    assert_eq!(queued[0].reverse_path, "tls-reports@us.example");
    assert_eq!(rig.pages(), 1, "what nobody wants is forgotten, what goes to us or our neighbours is never sent");
    assert!(rig.posts.lock().is_empty());

    // What is in it: the MIME parser of another maker, gzip, JSON.
    let octets = content(&rig.store, &queued[0]).await;
    let text = String::from_utf8(octets.clone()).unwrap();
    assert!(text.lines().all(|line| line.len() < 998) && text.is_ascii());
    let message = MessageParser::new().parse(&octets).unwrap();
    let field =
        |name: &'static str| message.header_raw(name).unwrap_or_else(|| panic!("{name}: {text}")).trim().to_owned();
    assert_eq!(field("TLS-Report-Domain"), "mail.example");
    assert_eq!(field("TLS-Report-Submitter"), "us.example");
    assert_eq!((field("TLS-Required"), field("Auto-Submitted")), ("No".into(), "auto-generated".into()));
    let subject = message.subject().unwrap();
    let id = subject.strip_prefix("Report Domain: mail.example Submitter: us.example Report-ID: <").unwrap();
    let id = id.strip_suffix("@us.example>").unwrap();
    assert_eq!(message.message_id(), Some(&*format!("{id}@us.example")));
    let kind = message.content_type().unwrap();
    assert_eq!(
        (kind.ctype(), kind.subtype(), kind.attribute("report-type")),
        ("multipart", Some("report"), Some("tlsrpt"))
    );
    let part = message.attachment(0).unwrap();
    let kind = part.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("application", Some("tlsrpt+gzip")));
    let (start, end) = (DAY * 86_400, DAY * 86_400 + 86_399);
    assert_eq!(part.attachment_name(), Some(&*format!("us.example!mail.example!{start}!{end}!{id}.json.gz")));
    let mut json = String::new();
    GzDecoder::new(part.contents()).read_to_string(&mut json).unwrap();
    let found: Value = serde_json::from_str(&json).unwrap();
    let policy = serde_json::json!({
        "policy": {
            "policy-type": "sts",
            "policy-string": ["version: STSv1", "mode: testing", "mx: *.far.example"],
            "policy-domain": "mail.example",
            "mx-host": ["*.far.example"],
        },
        "summary": { "total-successful-session-count": 3, "total-failure-session-count": 2 },
        "failure-details": [{
            "result-type": "certificate-expired",
            "sending-mta-ip": "192.0.2.1",
            "receiving-mx-hostname": "mx.far.example",
            "receiving-ip": "192.0.2.2",
            "failed-session-count": 2,
            "failure-reason-code": "why",
        }],
    });
    let expected = serde_json::json!({
        "organization-name": "We & Co.",
        "date-range": { "start-datetime": "2026-11-28T00:00:00Z", "end-datetime": "2026-11-28T23:59:59Z" },
        "contact-info": "tls-reports@us.example",
        "report-id": format!("{id}@us.example"),
        "policies": [policy],
    });
    assert_eq!(found, expected);

    // A day later that is done with.
    rig.turn(EVENING + 86_400).await;
    assert_eq!((rig.queued().await.len(), rig.pages()), (1, 0));
}

#[tokio::test]
async fn what_fails_is_tried_for_a_day_and_nothing_is_sent_twice() {
    let answers = Arc::new(Mutex::new(vec![Err(HttpError::Broken("x".into())), Ok(503), Ok(302)]));
    let status: Status = {
        let answers = answers.clone();
        Arc::new(move || answers.lock().pop().unwrap_or(Ok(200)))
    };
    let rig = Rig::with(tempfile::tempdir().unwrap(), status);
    rig.count("web.example", None);
    rig.count("silent.example", None);
    rig.turn(EVENING).await;
    let mut now = EVENING;
    for _ in 0..40 {
        now += 3600;
        rig.turn(now).await;
    }
    // Three that failed and one that did not; the mail once.
    let posts: Vec<_> = rig.posts.lock().iter().map(|(at, _)| at.clone()).collect();
    assert_eq!(posts, vec!["web.example/post?key=41"; 4]);
    let queued = rig.queued().await;
    assert_eq!(queued.iter().map(|one| &*one.recipient).collect::<Vec<_>>(), ["tls@web.example"]);
    assert_eq!(rig.pages(), 0, "the DNS that never answered is given up too");

    // The server was off for long.
    rig.count("mail.example", None);
    rig.turn(EVENING + 10 * 86_400).await;
    rig.turn(EVENING + 12 * 86_400).await;
    assert_eq!((rig.queued().await.len(), rig.pages()), (1, 0));
}

/// Sets how far the report to `tls@reports.example` is.
fn left(folder: &Path, state: State) {
    let file = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    let job: String = file.query_row("SELECT job FROM page", (), |row| row.get(0)).unwrap();
    let mut job: book::Job = serde_json::from_str(&job).unwrap();
    job.to = Some(vec![Destination { uri: "mailto:tls@reports.example".into(), state }]);
    file.execute("UPDATE page SET job = ?1", [serde_json::to_string(&job).unwrap()]).unwrap();
}

/// A process that dies after each step of a report by mail: one copy, whatever the step.
#[tokio::test]
async fn a_crash_between_marks() {
    for step in ["sending, not accepted", "sending, accepted", "accepted", "released"] {
        let rig = Rig::new();
        rig.count("mail.example", None);
        rig.turn(NOON).await;
        // It is planned now, and due later.
        rig.turn((DAY + 1) * 86_400 + 1).await;
        let mut incoming = rig.store.begin().unwrap();
        let id = incoming.id();
        if step == "sending, not accepted" {
            drop(incoming);
        } else {
            let _ = incoming.write(b"the report\r\n").unwrap();
            let to = Address { local: "tls".into(), domain: "reports.example".into() };
            let held = Some(format!("the TLS report {id} is on its way into the queue"));
            let entry = crate::store::NewEntry { held, ..crate::store::NewEntry::to(to, Route::Relay) };
            incoming.accept(crate::store::Envelope::default(), Vec::new(), vec![entry]).await.unwrap();
        }
        let state = match step {
            "accepted" | "released" => State::Accepted(id.to_string()),
            _ => State::Sending(id.to_string()),
        };
        left(rig.folder.path(), state);
        if step == "released" {
            let entry = EntryId { message: id, index: 0 };
            rig.store.change(vec![(entry, crate::store::Change::Release)]).await.unwrap();
        }
        let rig = rig.restart().await;
        rig.turn(EVENING).await;
        let queued = rig.queued().await;
        assert_eq!(queued.len(), 1, "{step}: {queued:?}");
        assert_eq!((&*queued[0].state, rig.pages()), ("queued", 0), "{step}");
        let again = content(&rig.store, &queued[0]).await != b"the report\r\n";
        assert_eq!(again, step == "sending, not accepted", "{step}");
    }
}

/// A flood of domains costs a bounded file, and what is counted after a report was planned changes nothing.
#[tokio::test]
async fn counts_outlive_the_process() {
    let rig = Rig::new();
    rig.count("mail.example", None);
    rig.turn(NOON).await;
    let rig = rig.restart().await;
    rig.count("mail.example", Some(ResultType::StarttlsNotSupported));
    rig.turn((DAY + 1) * 86_400 + 1).await;
    rig.count("mail.example", None);
    rig.turn((DAY + 1) * 86_400 + 2).await;
    let book = book::Book::open(&rig.folder.path().join(FILE)).unwrap();
    let pages = book.due(u64::MAX >> 1, 10).unwrap();
    let tallies = book.tallies(&pages[0]).unwrap();
    assert_eq!(pages.len(), 1);
    assert_eq!((tallies[0].summary.successful, tallies[0].summary.failed), (1, 1));
}
