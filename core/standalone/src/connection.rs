//! Octets to and from one peer, with a bound in time on each wait.
//!
//! Owns the two streams of a socket. Refuses to know what is said. A peer that is gone and one that takes too long are told
//! apart; why it is gone is the runtime's affair.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;

use wasip3::sockets::types::{ErrorCode, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket};
use wasip3::wit_bindgen::{StreamReader, StreamResult, StreamWriter};

use crate::alarm::{Alarms, now};

/// Octets read at once.
const BUFFER: usize = 32 * 1024;
/// After the last reply: so long we wait for the peer's end, so that it can read what we said, and read so much.
const LINGER: u64 = 2_000;
const LINGER_OCTETS: usize = 1024 * 1024;

/// One peer.
pub(crate) struct Connection {
    reader: StreamReader<u8>,
    /// None: we have said our last word.
    writer: Option<StreamWriter<u8>>,
    alarms: Alarms,
}

/// What a wait for octets came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There are more, at the end of the input.
    Octets,
    /// The time has come.
    Due,
    /// The interruption has come.
    Interrupted,
    /// The peer closed, or the connection is lost.
    Gone,
}

/// The peer is gone, or reads too slowly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

impl Connection {
    /// Takes over an accepted socket. Says who is there.
    pub(crate) fn new(socket: &TcpSocket, alarms: Alarms) -> Result<(Self, IpAddr), ErrorCode> {
        let peer = address(socket.get_remote_address()?).ip();
        // How each direction ended is in a future that nobody needs: the streams end as well.
        let (reader, _) = socket.receive();
        let (writer, data) = wasip3::wit_stream::new();
        let _ = socket.send(data);
        Ok((Self { reader, writer: Some(writer), alarms }, peer))
    }

    /// Waits for octets and puts them behind those of `input`, until `due` or until `interrupted` says so; that is looked at
    /// whenever [`Alarms::rouse`] was called.
    pub(crate) async fn read(&mut self, input: &mut Vec<u8>, due: u64, interrupted: impl Fn() -> bool) -> Waited {
        let mut buffer = std::mem::take(input);
        buffer.reserve(BUFFER);
        let mut read = pin!(self.reader.read(buffer));
        let mut alarm = pin!(self.alarms.at(due));
        let (waited, buffer) = poll_fn(|context| {
            if let Poll::Ready((result, buffer)) = read.as_mut().poll(context) {
                return Poll::Ready((came(result, Waited::Gone), buffer));
            }
            let instead = if interrupted() {
                Waited::Interrupted
            } else if alarm.as_mut().poll(context).is_ready() {
                Waited::Due
            } else {
                return Poll::Pending;
            };
            let (result, buffer) = read.as_mut().cancel();
            Poll::Ready((came(result, instead), buffer))
        })
        .await;
        *input = buffer;
        waited
    }

    /// Writes all of it until `due`.
    pub(crate) async fn write(&mut self, octets: Vec<u8>, due: u64) -> Result<(), Lost> {
        let Some(writer) = &mut self.writer else { return Err(Lost) };
        let mut write = pin!(writer.write_all(octets));
        let mut alarm = pin!(self.alarms.at(due));
        poll_fn(|context| {
            if let Poll::Ready(rest) = write.as_mut().poll(context) {
                return Poll::Ready(if rest.is_empty() { Ok(()) } else { Err(Lost) });
            }
            alarm.as_mut().poll(context).map(|()| Err(Lost))
        })
        .await
    }

    /// Says that nothing more will come, and waits a moment for the peer to say the same: closing with unread input would take
    /// back the last reply.
    pub(crate) async fn close(mut self) {
        self.writer = None;
        let due = now() + LINGER;
        let mut seen = 0;
        let mut input = Vec::new();
        while seen < LINGER_OCTETS && self.read(&mut input, due, || false).await == Waited::Octets {
            seen += input.len();
            input.clear();
        }
    }
}

/// `otherwise`: what it is when no octet came and the stream goes on.
fn came(result: StreamResult, otherwise: Waited) -> Waited {
    match result {
        StreamResult::Complete(_) => Waited::Octets,
        StreamResult::Dropped => Waited::Gone,
        StreamResult::Cancelled => otherwise,
    }
}

/// The runtime's address as the standard library has it.
pub(crate) fn address(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
            (Ipv4Addr::new(a, b, c, d), port).into()
        }
        IpSocketAddress::Ipv6(Ipv6SocketAddress { port, address: (a, b, c, d, e, f, g, h), .. }) => {
            (Ipv6Addr::new(a, b, c, d, e, f, g, h), port).into()
        }
    }
}

/// The other way round.
pub(crate) fn runtime_address(address: SocketAddr) -> (IpSocketAddress, bool) {
    match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            (IpSocketAddress::Ipv4(Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) }), false)
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address = (a, b, c, d, e, f, g, h);
            let (flow_info, scope_id) = (v6.flowinfo(), v6.scope_id());
            (IpSocketAddress::Ipv6(Ipv6SocketAddress { port: v6.port(), flow_info, address, scope_id }), true)
        }
    }
}
