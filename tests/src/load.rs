//! Clients that send as fast as they can and remember what was promised to them, and the judge of what became of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Write as _},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::Rng;

use crate::{
    lmtp::Sink,
    message::{Message, field, intact, token},
    server::{DOMAIN, Server},
    session::Session,
};

/// Mailboxes of the load.
const BOXES: [&str; 4] = ["anna", "berta", "carla", "dora"];
/// Simultaneous clients.
const CLIENTS: usize = 8;
/// How long a restarted server may take to deliver what it has.
const DRAIN: Duration = Duration::from_secs(120);
/// The domain whose mailboxes a [`Sink`] has.
pub const ELSEWHERE: &str = "there.test";
/// From an answer of another server until that is settled, on a busy machine.
const SETTLING: Duration = Duration::from_secs(3);

/// One message that was sent.
#[derive(Debug)]
struct Sent {
    to: BTreeSet<&'static str>,
    /// Answered 250, so long after the transaction began.
    promised: Option<Duration>,
    size: usize,
    /// To a mailbox at [`ELSEWHERE`] too.
    elsewhere: bool,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = if self.promised.is_some() { "answered 250" } else { "not answered" };
        let elsewhere = if self.elsewhere { " and elsewhere" } else { "" };
        write!(f, "of {} octets to {:?}{elsewhere}, {answer}", self.size, self.to)
    }
}

/// All messages ever sent to a server, and the copies that were taken out of its Maildirs.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: Mutex<HashMap<String, Sent>>,
    harvested: HashMap<(String, String), usize>,
    /// The longest a client rests between two messages.
    pause: Duration,
    sink: Option<Sink>,
    /// From when until when something was broken.
    faults: Mutex<Vec<(Instant, Instant)>>,
    /// Copies that were read and are whole, and their tokens: a thousand rounds would read the first one a thousand times.
    read: Mutex<HashMap<Inode, String>>,
}

/// A file as it is: device, number, size, and when anything of it was last changed.
type Inode = (u64, u64, u64, i64, i64);

fn inode(file: &Path) -> io::Result<Inode> {
    let data = fs::metadata(file)?;
    Ok((data.dev(), data.ino(), data.size(), data.ctime(), data.ctime_nsec()))
}

impl Ledger {
    /// Of clients that rest between two messages, at most so long: many at a time, and something left for others.
    pub fn with_pauses(pause: Duration) -> Self {
        Self { pause, ..Self::default() }
    }

    /// Half of the messages go to this one too.
    #[must_use]
    pub fn with_sink(self, sink: Sink) -> Self {
        Self { sink: Some(sink), ..self }
    }

    /// Something was broken: what was being sent on at that time may be sent twice.
    pub fn fault(&self, from: Instant, until: Instant) {
        self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((from, until));
    }

    /// Copies that came to the sink beside the first of each message.
    pub fn duplicates(&self) -> usize {
        let arrivals = self.sink.iter().flat_map(|sink| sink.arrivals().into_values());
        arrivals.map(|copies| copies.len() - 1).sum()
    }

    /// Copies that came to the sink.
    pub fn sent_on(&self) -> usize {
        self.sink.iter().flat_map(|sink| sink.arrivals().into_values()).map(|copies| copies.len()).sum()
    }

    /// Messages that were answered 250.
    pub fn promised(&self) -> usize {
        self.lock().values().filter(|s| s.promised.is_some()).count()
    }

    /// Messages whose final dot was perhaps sent, without an answer.
    pub fn unanswered(&self) -> usize {
        self.lock().values().filter(|s| s.promised.is_none()).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Sent>> {
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Eight clients send until `meanwhile` returns, which may kill the server.
    pub fn send_while(&self, port: u16, meanwhile: impl FnOnce()) {
        self.clients_send_while(CLIENTS, port, meanwhile);
    }

    /// So many clients send until `meanwhile` returns.
    pub fn clients_send_while<T>(&self, clients: usize, port: u16, meanwhile: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stops = Stops(&stop);
            for _ in 0..clients {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        // Until the connection breaks: that is how the server's death is seen.
                        if self.client(port, &stop).is_err() {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                });
            }
            meanwhile()
        })
    }

    /// Copies in the Maildirs of the load: whose, and their octets.
    pub fn copies(server: &Server) -> Vec<(&'static str, Vec<u8>)> {
        BOXES.into_iter().flat_map(|name| server.maildir(name).messages().into_iter().map(move |m| (name, m))).collect()
    }

    /// From MAIL to the 250 after the final dot, of every message so far, the shortest first.
    pub fn waits(&self) -> Vec<Duration> {
        let mut waits: Vec<_> = self.lock().values().filter_map(|s| s.promised).collect();
        waits.sort();
        waits
    }

    fn client(&self, port: u16, stop: &AtomicBool) -> std::io::Result<()> {
        let mut session = Session::open(port)?;
        session.command("EHLO client.example.org")?;
        while !stop.load(Ordering::Relaxed) {
            let mut random = rand::rng();
            let token = token();
            let size = [1 << 10, 4 << 10, 4 << 10, 16 << 10, 300 << 10][random.random_range(0..5)];
            let to: BTreeSet<_> =
                (0..random.random_range(1..=3)).map(|_| BOXES[random.random_range(0..BOXES.len())]).collect();
            let elsewhere = self.sink.is_some() && random.random();
            let mut addresses: Vec<_> = to.iter().map(|b| format!("{b}@{DOMAIN}")).collect();
            addresses.extend(elsewhere.then(|| format!("emil@{ELSEWHERE}")));
            self.lock().insert(token.clone(), Sent { to, promised: None, size, elsewhere });
            let start = Instant::now();
            let reply = session.send("sender@example.org", &addresses, &Message::sealed(&token, size))?;
            if reply.code == 250 {
                self.lock().get_mut(&token).expect("inserted above").promised = Some(start.elapsed());
            }
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause.mul_f64(random.random()));
            }
        }
        Ok(())
    }

    /// Waits until the server has delivered all it can. The error names what is left.
    pub fn drained(server: &Server) -> Result<(), String> {
        let end = Instant::now() + DRAIN;
        loop {
            let queue = match server.try_queue() {
                Ok(queue) => queue,
                // Of a store that is not there yet.
                Err(why) if Instant::now() > end => return Err(why),
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(200));
                    continue;
                }
            };
            let left: Vec<_> =
                queue.into_iter().filter(|e| matches!(e["state"].as_str(), Some("queued" | "leased"))).collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{} entries are still queued after {DRAIN:?}, such as {}", left.len(), left[0]));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every message answered 250 is once in each of its Maildirs; every other is in all of its Maildirs or in none; each
    /// copy is whole. At the sink it is there at least once, and a copy that is not the last one came while something was broken. The error
    /// lists what is wrong.
    pub fn judge(&self, server: &Server) -> Result<(), String> {
        let mut copies: BTreeMap<(String, String), usize> =
            self.harvested.iter().map(|(copy, n)| (copy.clone(), *n)).collect();
        let mut wrong = String::new();
        for name in BOXES {
            let maildir = server.maildir(name);
            for file in maildir.files() {
                match self.read(&file).expect("nobody else removes mail") {
                    Ok(token) => *copies.entry((token, name.to_owned())).or_default() += 1,
                    Err(why) => drop(writeln!(wrong, "torn: {}: {why}", file.display())),
                }
            }
        }
        let arrivals = self.sink.as_ref().map(Sink::arrivals).unwrap_or_default();
        for torn in self.sink.iter().flat_map(Sink::torn) {
            let _ = writeln!(wrong, "torn elsewhere: {torn}");
        }
        let faults = self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let in_flight = |at: &Instant| faults.iter().any(|(from, until)| *at + SETTLING >= *from && *at <= *until);
        let sent = self.lock();
        for (token, copies) in &arrivals {
            match sent.get(token) {
                Some(s) if s.elsewhere => {
                    let twice = &copies[..copies.len() - 1];
                    if !twice.iter().all(in_flight) {
                        let _ = writeln!(wrong, "{} copies elsewhere, without need: {token}, {s}", copies.len());
                    }
                }
                Some(_) | None => {
                    let _ = writeln!(wrong, "never sent elsewhere: {token}");
                }
            }
        }
        for ((token, name), n) in &copies {
            match sent.get(token) {
                Some(s) if s.to.contains(name.as_str()) && *n == 1 => {}
                Some(s) if s.to.contains(name.as_str()) => {
                    let _ = writeln!(wrong, "{n} copies: {token} for {name}, {s}");
                }
                Some(_) | None => {
                    let _ = writeln!(wrong, "never sent: {token} for {name}");
                }
            }
        }
        for (token, s) in sent.iter() {
            let there = s.to.iter().filter(|b| copies.contains_key(&(token.clone(), (**b).to_owned()))).count();
            let there = there + usize::from(s.elsewhere && arrivals.contains_key(token));
            let all = s.to.len() + usize::from(s.elsewhere);
            if s.promised.is_some() && there < all {
                let _ = writeln!(wrong, "lost although answered 250: {token}, {there} of {all} copies, {s}");
            } else if there != 0 && there < all {
                let _ = writeln!(wrong, "in part: {token}, {there} of {all} copies, {s}");
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(summary(&wrong)) }
    }

    /// The token of a copy, if it is whole.
    fn read(&self, file: &Path) -> io::Result<Result<String, String>> {
        let inode = inode(file)?;
        let known = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&inode).cloned();
        if let Some(token) = known {
            return Ok(Ok(token));
        }
        let octets = fs::read(file)?;
        if let Err(why) = intact(&octets) {
            return Ok(Err(format!("{why} ({} octets)", octets.len())));
        }
        let token = field(&octets, "X-Token").unwrap_or_default().to_owned();
        self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(inode, token.clone());
        Ok(Ok(token))
    }

    /// Takes all mail out of the Maildirs, as a reader would, and remembers it. The server must not run.
    pub fn harvest(&mut self, server: &Server) {
        for name in BOXES {
            for file in server.maildir(name).files() {
                let octets = fs::read(&file).expect("nobody else removes mail");
                let token = field(&octets, "X-Token").unwrap_or_default().to_owned();
                *self.harvested.entry((token, name.to_owned())).or_default() += 1;
                fs::remove_file(file).expect("ours");
            }
        }
    }
}

/// Stops the clients, even if the test panics.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The first lines, and how many there are.
fn summary(wrong: &str) -> String {
    let lines: Vec<_> = wrong.lines().collect();
    format!("{} faults:\n{}", lines.len(), lines[..lines.len().min(20)].join("\n"))
}
