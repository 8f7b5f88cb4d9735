//! From the end of a day to who wants to hear of it.
//!
//! Owns when a report is due, how often it is tried, and that each place gets it once. Refuses to know SMTP: a report by mail is a
//! message as any other, which the store keeps and the queue takes away. Never fails: what does not work is tried again for a
//! day (RFC 8460 section 5.5), then that is logged.
//!
//! # What if the process is killed, or the power fails, between any two steps?
//!
//! A place is `due`; then, by mail, `sending` a message of a certain id, `accepted`, `done`. Each is on the disk before the next
//! step.
//!
//! 1. *Before `sending`.* Nothing has left. The report is made again, of the same counts and with the same name.
//! 2. *`sending`.* The store was to accept the message, held, so that nobody takes it away. Either it is there, and the place is
//!    `accepted`; or it is not, and the place is `due` again.
//! 3. *`accepted`.* It is released. That does no harm when it was released before.
//! 4. *`done`.* When all places are, the page goes, and with it the counts.
//!
//! By HTTPS there is no such middle: a crash between the server's answer and `done` sends the report again, as the same octets with
//! the same Report-ID, so that whoever has it already can tell.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Request, body::Bytes, header};
use rand::Rng as _;
use rustls_pki_types::ServerName;
use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{
    LISTENER, TRIED_FOR,
    book::{Book, Destination, Job, Page, State},
    counts::Counts,
    record::{self, Place},
    report::{MEDIA_TYPE, Report},
};
use crate::{
    config::{Config, domain},
    dns::{NoAnswer, Resolver},
    observe::Metrics,
    store::{Address, Envelope, MessageId, NewEntry, Notify, Pressure, Route, Store},
    transport::{
        http::{Client, Pieces},
        public::is_public,
    },
};

/// How often counts are written down and reports are looked for.
const EVERY: Duration = Duration::from_secs(30);
/// Reports of a day leave within so many seconds of its end, each at a time of its own (section 4.1).
const SPREAD: u64 = 4 * 3600;
/// And not before so many: what was counted at the last moment has to be written down.
const SETTLED: u64 = 120;
/// The first wait after something went wrong, seconds; it doubles.
const WAIT: u64 = 300;
/// The longest.
const LONGEST: u64 = 4 * 3600;
/// A report of a day that ended so long ago is not begun any more, seconds: the server was off.
const STALE: u64 = 3 * 86_400;
/// Reports that are looked at together.
const TOGETHER: u32 = 100;
/// For a server to take a report.
const POST: Duration = Duration::from_secs(60);

/// Where mail to an address goes, or why nowhere.
pub(super) type Router = Box<dyn Fn(&Address) -> Result<Route, String> + Send + Sync>;

/// What the server knows and this does not.
pub struct Ways {
    /// Where the reports go.
    pub place: Router,
    /// Who sends HTTP requests now.
    pub client: Box<dyn Fn() -> Client + Send + Sync>,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").finish_non_exhaustive()
    }
}

/// Writes counts down and sends reports.
pub struct Reporter {
    counts: Arc<Counts>,
    book: Arc<Book>,
    store: Arc<dyn Store>,
    resolver: Resolver,
    ways: Ways,
    metrics: Arc<Metrics>,
}

/// Who reports.
struct Author {
    from: Address,
    organization: String,
    contact: String,
}

impl Author {
    fn of(config: &Config) -> Option<Self> {
        let ours = &config.tls_reports;
        let from = ours.from.as_ref()?;
        let (local, name) = domain::parts_of_address(from)?;
        Some(Self {
            from: Address { local: local.to_owned(), domain: domain::strict(name)?.into_owned() },
            organization: ours.organization.clone().unwrap_or_else(|| config.name.clone()),
            contact: ours.contact.clone().unwrap_or_else(|| from.clone()),
        })
    }
}

/// Why a report did not get to a place.
enum Trouble {
    /// It may another time.
    Later(String),
    /// It never will.
    Never(String),
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Later(error.to_string())
    }
}

impl Reporter {
    /// With its file below this folder.
    ///
    /// # Errors
    /// The file can not be used.
    pub fn open(
        data: &Path,
        counts: Arc<Counts>,
        store: Arc<dyn Store>,
        resolver: Resolver,
        ways: Ways,
        metrics: Arc<Metrics>,
    ) -> rusqlite::Result<Self> {
        let book = Arc::new(Book::open(&data.join(super::book::FILE))?);
        Ok(Self { counts, book, store, resolver, ways, metrics })
    }

    /// Goes on until `stop` is true or its sender is gone. `config`: what counts now.
    pub async fn run(self, config: impl Fn() -> Arc<Config> + Send, mut stop: watch::Receiver<bool>) {
        loop {
            let current = config();
            self.counts.want(current.tls_reports.from.is_some());
            let turn = async {
                self.turn(&current, now()).await;
                tokio::time::sleep(EVERY).await;
            };
            tokio::select! {
                // In the middle of anything: that is as if the process had been killed.
                _ = stop.wait_for(|stop| *stop) => break,
                () = turn => {}
            }
        }
        self.write_down().await;
    }

    /// What there is to do at this time, seconds since 1970.
    pub(super) async fn turn(&self, config: &Config, now: u64) {
        self.write_down().await;
        let Some(author) = Author::of(config) else { return };
        let when = move |day: u64| {
            let end = (day + 1) * 86_400;
            let at = end + rand::rng().random_range(SETTLED..SPREAD);
            (at, ulid::Ulid::new().to_string().to_lowercase())
        };
        let today = now / 86_400;
        let pages = self
            .book(move |book| {
                book.plan(today, when)?;
                book.due(now, TOGETHER)
            })
            .await;
        let mut written = Instant::now();
        for page in pages.unwrap_or_default() {
            self.page(&author, page, now).await;
            if written.elapsed() >= EVERY {
                self.write_down().await;
                written = Instant::now();
            }
        }
    }

    async fn write_down(&self) {
        let taken = self.counts.take();
        if taken.is_empty() {
            return;
        }
        let taken = Arc::new(taken);
        let given = Arc::clone(&taken);
        if self.book(move |book| book.add(&given)).await.is_none() {
            self.counts.give_back(Arc::unwrap_or_clone(taken));
        }
    }

    /// Asks the file; None: it does not answer, which is logged.
    async fn book<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Book) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        let book = Arc::clone(&self.book);
        let asked = spawn_blocking(move || ask(&book)).await;
        let error = match asked {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        warn!(error, "the file with counts for TLS reports can not be used");
        None
    }

    async fn keep(&self, page: &Page) -> Option<()> {
        let page = page.clone();
        self.book(move |book| book.put(&page)).await
    }

    async fn forget(&self, page: &Page) {
        let page = page.clone();
        self.book(move |book| book.remove(&page)).await;
    }

    /// One report: to each place that it has yet to get to.
    async fn page(&self, author: &Author, mut page: Page, now: u64) {
        let (domain, begun) = (page.domain.clone(), page.job.since.is_some());
        if !begun && now > (page.day + 1) * 86_400 + STALE {
            warn!(domain, day = day(page.day), "TLS report given up: it is too old");
            self.metrics.tls_report(false);
            return self.forget(&page).await;
        }
        page.job.since.get_or_insert(now);
        page.job.tries += 1;
        let problem = match self.work(author, &mut page, now).await {
            Ok(()) => return self.forget(&page).await,
            Err(problem) => problem,
        };
        let tries = page.job.tries;
        if page.job.since.is_some_and(|since| now >= since + TRIED_FOR) && !under_way(&page.job) {
            warn!(domain, day = day(page.day), tries, problem, "TLS report given up");
            self.metrics.tls_report(false);
            return self.forget(&page).await;
        }
        info!(domain, day = day(page.day), tries, problem, "TLS report not sent yet");
        page.at = now + WAIT.saturating_mul(1 << (tries - 1).min(10)).min(LONGEST);
        self.keep(&page).await;
    }

    /// Fails with what did not work, if trying again may help.
    async fn work(&self, author: &Author, page: &mut Page, now: u64) -> Result<(), String> {
        if page.job.to.is_none() {
            let name = format!("_smtp._tls.{}", page.domain);
            let uris = match self.resolver.txt(&name).await {
                Ok(answer) => record::read(&answer.records),
                Err(NoAnswer::NotFound { .. } | NoAnswer::Invalid(_)) => None,
                Err(error @ (NoAnswer::Temporary(_) | NoAnswer::Bogus)) => return Err(format!("{name}: {error}")),
            };
            // It does not want to know.
            let Some(uris) = uris else { return Ok(()) };
            page.job.to = Some(uris.into_iter().map(|uri| Destination { uri, state: State::Due }).collect());
            self.keep(page).await.ok_or("it can not be kept where it goes")?;
        }
        let mut problems = Vec::new();
        for index in 0..page.job.to.as_ref().map_or(0, Vec::len) {
            if let Err(problem) = self.at(author, page, index, now).await {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// To the place of this number, from wherever it is.
    async fn at(&self, author: &Author, page: &mut Page, index: usize, now: u64) -> Result<(), String> {
        loop {
            let Some(Destination { uri, state }) = destination(page, index).cloned() else { return Ok(()) };
            let next = match &state {
                State::Done | State::Failed => return Ok(()),
                State::Due => self.send(author, page, index, &uri, now).await,
                State::Sending(id) => self.arrived(id).await,
                State::Accepted(id) => {
                    self.store.release(&reason(id)).await.map(|()| State::Done).map_err(Trouble::from)
                }
            };
            let next = match next {
                Ok(next) => next,
                Err(Trouble::Never(problem)) => {
                    warn!(domain = page.domain, uri, problem, "TLS report can not be sent");
                    self.metrics.tls_report(false);
                    State::Failed
                }
                Err(Trouble::Later(problem)) => return Err(format!("{uri}: {problem}")),
            };
            if next == State::Done {
                info!(domain = page.domain, day = day(page.day), uri, "TLS report sent");
                self.metrics.tls_report(true);
            }
            self.step(page, index, next).await.map_err(|problem| format!("{uri}: {problem}"))?;
        }
    }

    /// The place's new state, on the disk.
    async fn step(&self, page: &mut Page, index: usize, state: State) -> Result<(), &'static str> {
        let mut changed = page.clone();
        if let Some(destination) = destination(&mut changed, index) {
            destination.state = state;
        }
        self.keep(&changed).await.ok_or("it can not be kept how far it is")?;
        *page = changed;
        Ok(())
    }

    /// What became of a message that the store was to accept.
    async fn arrived(&self, id: &str) -> Result<State, Trouble> {
        let id: MessageId = id.parse()?;
        // It is held, so it can not have left.
        Ok(match self.store.show(id).await? {
            Some(_) => State::Accepted(id.to_string()),
            None => State::Due,
        })
    }

    async fn send(
        &self,
        author: &Author,
        page: &mut Page,
        index: usize,
        uri: &str,
        now: u64,
    ) -> Result<State, Trouble> {
        let asked = page.clone();
        let policies = self.book(move |book| book.tallies(&asked)).await;
        let policies = policies.ok_or_else(|| Trouble::Later("there are no counts".into()))?;
        let (domain, id) = (page.domain.clone(), page.job.id.clone());
        let from = author.from.to_string();
        let report = Report {
            organization: &author.organization,
            contact: &author.contact,
            from: &from,
            submitter: &author.from.domain,
            domain: &domain,
            id: &id,
            day: page.day,
            policies: &policies,
        };
        let packed = report.packed()?;
        match record::place(uri) {
            None => Err(Trouble::Never("it is no place for reports".into())),
            Some(Place::Mail(to)) => {
                let content = report.message(&to.to_string(), &packed, now)?;
                self.mail(author, page, index, to, &content, now).await
            }
            Some(Place::Https(host, port, path)) => self.post(&host, port, &path, packed).await,
        }
    }

    /// Has the store accept it, held.
    async fn mail(
        &self,
        author: &Author,
        page: &mut Page,
        index: usize,
        to: Address,
        content: &[u8],
        now: u64,
    ) -> Result<State, Trouble> {
        let route = (self.ways.place)(&to).map_err(Trouble::Never)?;
        let mut incoming = self.store.begin()?;
        let id = incoming.id().to_string();
        if incoming.write(content)? == Pressure::Flush {
            incoming.flush().await?;
        }
        self.step(page, index, State::Sending(id.clone())).await.map_err(|problem| Trouble::Later(problem.into()))?;
        let envelope = Envelope {
            reverse_path: Some(author.from.clone()),
            session: page.job.id.clone(),
            listener: LISTENER.to_owned(),
            received_at: now.saturating_mul(1000),
            ..Envelope::default()
        };
        let entry = NewEntry {
            // What is undeliverable is logged; there is nobody who wants a notice.
            notify: Some(Notify::default()),
            held: Some(reason(&id)),
            ..NewEntry::to(to, route)
        };
        incoming.accept(envelope, Vec::new(), vec![entry]).await?;
        Ok(State::Accepted(id))
    }

    /// Section 5.4. Its certificate has to be good, though section 3 would let us send without.
    async fn post(&self, host: &str, port: Option<u16>, path: &str, packed: Vec<u8>) -> Result<State, Trouble> {
        let found = match self.resolver.addresses(host).await {
            Ok(found) => found.records,
            Err(error @ NoAnswer::Invalid(_)) => return Err(Trouble::Never(error.to_string())),
            Err(error) => return Err(Trouble::Later(error.to_string())),
        };
        // Strangers choose the name and what it leads to: what stands behind our walls is not for them.
        let addresses: Vec<_> = found
            .into_iter()
            .filter(|address| is_public(*address))
            .take(4)
            .map(|address| SocketAddr::new(address.to_canonical(), port.unwrap_or(443)))
            .collect();
        if addresses.is_empty() {
            return Err(Trouble::Later("it has no address that is public".into()));
        }
        let name = ServerName::try_from(host.to_owned())?;
        let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let request = Request::post(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("hermetic/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, MEDIA_TYPE)
            .body(Pieces::new([Bytes::from(packed)]))?;
        let client = (self.ways.client)();
        let sent = timeout(POST, client.send(&addresses, Some(name), request)).await;
        let response = sent.map_err(|_| Trouble::Later("no answer in time".into()))??;
        match response.status {
            200..=299 => Ok(State::Done),
            status => Err(Trouble::Later(format!("it answers {status}"))),
        }
    }
}

fn destination(page: &mut Page, index: usize) -> Option<&mut Destination> {
    page.job.to.as_mut()?.get_mut(index)
}

/// Something of it may be in the store and not released.
fn under_way(job: &Job) -> bool {
    let under_way = |one: &Destination| matches!(one.state, State::Sending(_) | State::Accepted(_));
    job.to.as_ref().is_some_and(|to| to.iter().any(under_way))
}

/// Why the message of this id is held: nobody else's is for the same reason.
fn reason(id: &str) -> String {
    format!("the TLS report {id} is on its way into the queue")
}

/// `2026-11-28`.
fn day(day: u64) -> String {
    let start = i64::try_from(day.saturating_mul(86_400)).unwrap_or_default();
    jiff::Timestamp::from_second(start).unwrap_or_default().strftime("%Y-%m-%d").to_string()
}

fn now() -> u64 {
    crate::store::sqlite::now() / 1000
}
