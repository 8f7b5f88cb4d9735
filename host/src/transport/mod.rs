//! Octets in and out: TCP or Unix sockets, the PROXY header before anything else, TLS when it is asked for.
//!
//! Owns the connection as one type, [`Stream`], and the read buffers, which only a connection with something to read
//! holds. Refuses to know what the octets mean. Fails with `io::Error`, always the end of the connection.

pub mod http;
pub mod proxy;
pub mod public;
pub mod tls;
pub mod trust;
pub mod unix;

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Octets of a read buffer: a connection in full flow costs one system call for so many.
const READ_BUFFER: usize = 64 * 1024;
/// Buffers that a thread keeps for the next reads.
const SPARE_BUFFERS: usize = 8;
/// Unread input up to this is copied when the buffer is wanted back.
const SMALL: usize = 4 * 1024;
/// How long a closing connection may go on talking.
const LINGER: Duration = Duration::from_secs(2);
/// How much it may say meanwhile.
const LINGER_OCTETS: usize = 1024 * 1024;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// The other end; none on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.peer_addr().ok().map(canonical),
            Self::Unix(_) => None,
        }
    }

    /// Writes what fits into the socket's buffer now; for a last word to somebody who gets no session.
    pub fn try_write(&self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_write(octets),
            Self::Unix(unix) => unix.try_write(octets),
        }
    }

    /// Whether there is something unread (or the peer closed in an error); takes it away.
    fn try_discard(&self, octets: &mut [u8]) -> bool {
        matches!(
            match self {
                Self::Tcp(tcp) => tcp.try_read(octets),
                Self::Unix(unix) => unix.try_read(octets),
            },
            Ok(1..)
        )
    }
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A connection, inside TLS or not.
#[derive(Debug)]
pub enum Stream {
    /// As it comes.
    Plain(Socket),
    /// Inside TLS.
    Tls(Box<TlsStream<Socket>>),
    /// The handshake failed, or is under way.
    Gone,
}

impl Stream {
    /// The server's side of a TLS handshake, which must end within `limit`. What was read from the connection before
    /// is the caller's to discard (RFC 3207 section 4.2); what was not is taken for the handshake.
    pub async fn secure(&mut self, config: Arc<rustls::ServerConfig>, limit: Duration) -> io::Result<()> {
        let Self::Plain(socket) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("already inside TLS"));
        };
        let handshake = Box::pin(timeout(limit, TlsAcceptor::from(config).accept(socket)));
        let stream =
            handshake.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))??;
        *self = Self::Tls(Box::new(stream));
        Ok(())
    }

    /// The TLS layer, if there is one.
    pub fn tls(&self) -> Option<&TlsStream<Socket>> {
        match self {
            Self::Tls(tls) => Some(tls),
            _ => None,
        }
    }

    /// The next octets; empty at the peer's end. While there is nothing to read no buffer is held.
    /// Safe to cancel.
    pub async fn next(&mut self) -> io::Result<Input> {
        std::future::poll_fn(|context| {
            let mut input = Input::fresh();
            let mut buffer = ReadBuf::new(&mut input.octets);
            ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
            input.end = buffer.filled().len();
            Poll::Ready(Ok(input))
        })
        .await
    }

    /// Writes all of it, at once where the socket takes it, within `limit`.
    pub async fn send(&mut self, octets: &[u8], limit: Duration) -> io::Result<()> {
        let mut rest = octets;
        // The usual case needs no timer: the socket's buffer is empty.
        if let Self::Plain(socket) = self {
            match socket.try_write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
        let all = async {
            self.write_all(rest).await?;
            self.flush().await
        };
        timeout(limit, all).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))?
    }

    /// Ends the connection so that the peer gets to read the last octets: close_notify inside TLS, then a FIN, and
    /// what the peer still sends is read for a short while, because closing over it would reset the connection. That is
    /// done if something is unread, or if the peer is known to be `talking`.
    pub async fn close(mut self, talking: bool) {
        let _ = timeout(LINGER, self.shutdown()).await;
        let socket = match &mut self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_mut().0,
            Self::Gone => return,
        };
        let mut void = Input::fresh();
        if !socket.try_discard(&mut void.octets) && !talking {
            return;
        }
        let mut seen = 0;
        let discard = async {
            while seen < LINGER_OCTETS {
                match socket.read(&mut void.octets).await {
                    Ok(n @ 1..) => seen += n,
                    _ => break,
                }
            }
        };
        let _ = timeout(LINGER, discard).await;
    }
}

/// Octets that were read and not used yet, in a buffer that goes back to its pool.
#[derive(Debug, Default)]
pub struct Input {
    octets: Box<[u8]>,
    start: usize,
    end: usize,
}

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

impl Input {
    fn fresh() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self { octets: spare.unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice()), start: 0, end: 0 }
    }

    /// What is left.
    pub fn rest(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// The first `n` octets are used. The last one gives the buffer back.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// There will be a wait: a little that is left moves to a buffer of its size.
    pub fn settle(&mut self) {
        let rest = self.rest();
        if rest.len() <= SMALL && self.octets.len() > SMALL {
            let octets: Box<[u8]> = rest.into();
            *self = Self { start: 0, end: octets.len(), octets };
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if self.octets.len() == READ_BUFFER {
            let octets = std::mem::take(&mut self.octets);
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push(octets);
                }
            });
        }
    }
}

macro_rules! each {
    ($self:expr, $kind:ident { $($variant:ident),+ }, $io:ident => $call:expr) => {
        match $self.get_mut() {
            $($kind::$variant($io) => $call,)+
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, Socket { Tcp, Unix }, io => Pin::new(io).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, Socket { Tcp, Unix }, io => Pin::new(io).poll_write(context, octets))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, Socket { Tcp, Unix }, io => Pin::new(io).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, Socket { Tcp, Unix }, io => Pin::new(io).poll_shutdown(context))
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(context, buffer),
            Self::Gone => gone(),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(context, octets),
            Self::Tls(io) => Pin::new(io).poll_write(context, octets),
            Self::Gone => gone(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(context),
            Self::Tls(io) => Pin::new(io).poll_flush(context),
            Self::Gone => gone(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(context),
            Self::Tls(io) => Pin::new(io).poll_shutdown(context),
            Self::Gone => gone(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn spare() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    /// A connection holds a buffer from its first unread octet to its last, and never while it waits.
    #[tokio::test]
    async fn buffers_come_and_go() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::Plain(Socket::Unix(ours));
        assert_eq!(spare(), 0);
        let waiting = timeout(Duration::from_millis(10), stream.next()).await;
        assert!(waiting.is_err());
        assert_eq!(spare(), 1, "given back while there is nothing to read");
        theirs.write_all(b"some octets").await.unwrap();
        let mut input = stream.next().await.unwrap();
        assert_eq!((input.rest(), spare()), (&b"some octets"[..], 0));
        input.consume(5);
        assert_eq!((input.rest(), spare()), (&b"octets"[..], 0));
        input.settle();
        assert_eq!((input.rest(), spare()), (&b"octets"[..], 1), "a little is copied before a wait");
        input.consume(6);
        assert!(input.is_empty());
        theirs.write_all(b"more").await.unwrap();
        let mut input = stream.next().await.unwrap();
        assert_eq!(spare(), 0);
        input.consume(4);
        assert_eq!(spare(), 1, "used up");
        drop(theirs);
        assert!(stream.next().await.unwrap().is_empty(), "the end");
    }

    /// What is written last arrives, although the peer is still talking.
    #[tokio::test]
    async fn closing_does_not_reset() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = Stream::Plain(Socket::Tcp(listener.accept().await.unwrap().0));
        peer.write_all(&[b'x'; 10_000]).await.unwrap();
        stream.send(b"farewell", LINGER).await.unwrap();
        let closing = tokio::spawn(stream.close(false));
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.write_all(&[b'x'; 10_000]).await.unwrap();
        let mut said = Vec::new();
        peer.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"farewell");
        drop(peer);
        timeout(Duration::from_secs(1), closing).await.expect("it waits for what can not come").unwrap();
    }
}
