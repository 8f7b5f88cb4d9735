//! The socket, who is let in, and the end.
//!
//! Owns the counts: connections at once, of all and of one address. Refuses to know what is said over them. Fails at the start, with
//! one sentence; afterwards an accept that fails is waited out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use futures::future::select;
use wasip3::sockets::types::{ErrorCode, IpAddressFamily, TcpSocket};
use wasip3::spawn_local;
use wasip3::wit_bindgen::StreamReader;

use crate::alarm::{Alarms, now, turn};
use crate::arguments::Settings;
use crate::connection::{Connection, address, runtime_address};
use crate::journal::Journal;
use crate::maildir::Maildir;
use crate::policy::refusal;
use crate::session;

/// Connections that wait to be accepted.
const BACKLOG: u64 = 1024;
/// So many are told 421 at once; more are closed without a word.
const REFUSED: usize = 64;
/// Milliseconds after an accept that failed.
const PAUSE: u64 = 100;
/// Connections accepted in a row before the others have a turn.
const ACCEPTED: u32 = 32;
/// Milliseconds that the open sessions have when the server is to end, and the last lines.
const GRACE: u64 = 30_000;
const LAST_LINES: u64 = 2_000;

/// What all sessions share.
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) maildir: Option<Maildir>,
    pub(crate) journal: Journal,
    pub(crate) alarms: Alarms,
    /// No new transactions.
    pub(crate) ending: Cell<bool>,
    seats: Rc<Seats>,
    refusals: Cell<usize>,
}

/// Who is connected.
#[derive(Default)]
struct Seats {
    taken: Cell<usize>,
    clients: RefCell<BTreeMap<IpAddr, usize>>,
}

/// One connection's place, given back when dropped.
struct Seat {
    seats: Rc<Seats>,
    client: IpAddr,
}

impl Seats {
    /// None: there is no room, for this client or for anybody.
    fn take(self: &Rc<Self>, client: IpAddr, most: usize, most_per_client: usize) -> Option<Seat> {
        let client = same_client(client);
        let mut clients = self.clients.borrow_mut();
        let held = clients.get(&client).copied().unwrap_or(0);
        if self.taken.get() >= most || held >= most_per_client {
            return None;
        }
        clients.insert(client, held + 1);
        self.taken.set(self.taken.get() + 1);
        Some(Seat { seats: Rc::clone(self), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut clients = self.seats.clients.borrow_mut();
        match clients.get_mut(&self.client) {
            Some(held) if *held > 1 => *held -= 1,
            _ => drop(clients.remove(&self.client)),
        }
        self.seats.taken.set(self.seats.taken.get().saturating_sub(1));
    }
}

/// Whoever has one address of an IPv6 network has all of its /64.
fn same_client(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// Listens, and serves until it is to end.
///
/// # Errors
/// A sentence: it cannot listen or keep messages, or the runtime took the socket away.
pub(crate) async fn serve(settings: Settings) -> Result<(), String> {
    let given = Maildir::given(&settings.options.server_name).await?;
    let (socket, mut sockets) = listen(&settings)?;
    let bound = socket.get_local_address().map(address).unwrap_or(settings.address);
    let (maildir, kept) = match given {
        Some((maildir, name)) => (Some(maildir), format!("kept in {name}")),
        None => (None, "discarded".into()),
    };
    let server = Rc::new(Server {
        maildir,
        journal: Journal::default(),
        alarms: Alarms::default(),
        ending: Cell::new(false),
        seats: Rc::default(),
        refusals: Cell::new(0),
        settings,
    });
    server.journal.line(&format!("listening on {bound} for {}; messages are {kept}", server.settings.domains.listed()));
    let keepers = futures::future::join(server.alarms.clone().keep(), server.journal.clone().keep());
    let service = async {
        let result = accept(&server, &mut sockets).await;
        drop(sockets);
        drop(socket);
        if result.is_ok() {
            end(&server).await;
        }
        result
    };
    match select(pin!(keepers), pin!(service)).await {
        futures::future::Either::Right((result, _)) => result,
        // The clock is kept for ever.
        futures::future::Either::Left(_) => Err("the clock stopped".into()),
    }
}

fn listen(settings: &Settings) -> Result<(TcpSocket, StreamReader<TcpSocket>), String> {
    let (address, v6) = runtime_address(settings.address);
    let family = if v6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 };
    let opened = TcpSocket::create(family).and_then(|socket| {
        socket.set_listen_backlog_size(BACKLOG)?;
        socket.bind(address)?;
        let sockets = socket.listen()?;
        Ok((socket, sockets))
    });
    opened.map_err(|error| {
        let why = match error {
            ErrorCode::AccessDenied => {
                "it is not allowed: the runtime does with `wasmtime run -S inherit-network …`, and ports below 1024 want root".into()
            }
            ErrorCode::AddressInUse => "somebody else does already".into(),
            ErrorCode::AddressNotBindable => "it is no address of this machine".into(),
            other => format!("{other}"),
        };
        format!("can not listen on {}: {why}", settings.address)
    })
}

/// Lets connections in until the server is to end.
async fn accept(server: &Rc<Server>, sockets: &mut StreamReader<TcpSocket>) -> Result<(), String> {
    let mut input_end: Pin<Box<dyn Future<Output = ()>>> = match server.settings.until_eof {
        true => Box::pin(input_end()),
        false => Box::pin(std::future::pending()),
    };
    let mut accepted: u32 = 0;
    let mut failed_at = None;
    loop {
        accepted = accepted.wrapping_add(1);
        if accepted.is_multiple_of(ACCEPTED) {
            turn().await;
        }
        let next = {
            let mut next = pin!(sockets.next());
            poll_fn(|context| {
                if input_end.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                next.as_mut().poll(context).map(Some)
            })
            .await
        };
        let socket = match next {
            None => return Ok(()),
            Some(None) => return Err("the runtime closed the socket that we listened on".into()),
            Some(Some(socket)) => socket,
        };
        match Connection::new(&socket, server.alarms.clone()) {
            Ok((connection, client)) => admit(server, connection, client),
            Err(error) => {
                // Too many open files, most likely: that does not go away at once.
                if failed_at.is_none_or(|time| now() > time + 100 * PAUSE) {
                    server.journal.line(&format!("a connection could not be accepted: {error}"));
                    failed_at = Some(now());
                }
                server.alarms.at(now() + PAUSE).await;
            }
        }
    }
}

fn admit(server: &Rc<Server>, connection: Connection, client: IpAddr) {
    let settings = &server.settings;
    let server = Rc::clone(server);
    if let Some(seat) = server.seats.take(client, settings.sessions, settings.sessions_per_client) {
        spawn_local(async move {
            session::serve(server, connection, client).await;
            drop(seat);
        });
    } else if server.refusals.get() < REFUSED {
        server.refusals.set(server.refusals.get() + 1);
        spawn_local(async move {
            let why = refusal(421, 3, 2, "Too many connections, please come again later");
            session::refuse(Rc::clone(&server), connection, client, why).await;
            server.refusals.set(server.refusals.get() - 1);
        });
    }
}

/// Waits for the end of standard input; what comes before it is not looked at.
async fn input_end() {
    let (mut input, _) = wasip3::cli::stdin::read_via_stream();
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let (result, mut octets) = input.read(buffer).await;
        if result == wasip3::wit_bindgen::StreamResult::Dropped {
            return;
        }
        octets.clear();
        buffer = octets;
    }
}

/// Lets the open sessions finish what they are at, and the last lines be written.
async fn end(server: &Server) {
    server.ending.set(true);
    server.alarms.rouse();
    let due = now() + GRACE;
    while server.seats.taken.get() > 0 && now() < due {
        server.alarms.at((now() + 20).min(due)).await;
    }
    if server.seats.taken.get() > 0 {
        server.journal.line(&format!("{} sessions were cut off at the end", server.seats.taken.get()));
    }
    select(pin!(server.journal.finish()), server.alarms.at(now() + LAST_LINES)).await;
    if server.seats.taken.get() > 0 {
        // Those that are left would be waited for.
        wasip3::cli::exit::exit(Ok(()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_and_given_back() {
        let seats = Rc::new(Seats::default());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = seats.take(ip("192.0.2.1"), 3, 2).unwrap();
        let _second = seats.take(ip("::ffff:192.0.2.1"), 3, 2).unwrap();
        assert!(seats.take(ip("192.0.2.1"), 3, 2).is_none(), "two of one client");
        let third = seats.take(ip("2001:db8::1"), 3, 2).unwrap();
        assert!(seats.take(ip("2001:db8::2"), 3, 2).is_none(), "three of all");
        drop(first);
        let _fourth = seats.take(ip("192.0.2.1"), 3, 2).unwrap();
        assert!(seats.take(ip("2001:db8:1::"), 4, 2).is_some());
        drop(third);
        assert_eq!((seats.taken.get(), seats.clients.borrow().len()), (2, 1));
    }
}
