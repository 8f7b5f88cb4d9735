//! A connection to one of a host's addresses.
//!
//! Owns the race between them (RFC 8305: the next one starts when the one before has not answered for a moment). Refuses to
//! know what is said. Fails with what each address said.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Octets in and out, whatever carries them.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At one of these.
    Tcp(Vec<SocketAddr>),
    /// On this machine.
    Unix(PathBuf),
}

/// Why there is no connection: a word for each address.
#[derive(Debug, thiserror::Error)]
#[error("no connection: {0}")]
pub struct Unreachable(pub String);

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub from: IpAddr,
    /// Theirs.
    pub to: IpAddr,
}

/// Connects, from one of `sources` if there is one of the family.
///
/// # Errors
/// [`Unreachable`].
pub async fn connect(
    host: &Whereabouts,
    sources: &[IpAddr],
    limit: Duration,
) -> Result<(Box<dyn Wire>, String), Unreachable> {
    connect_between(host, sources, limit).await.map(|(wire, address, _)| (wire, address))
}

/// The same, and between which addresses.
///
/// # Errors
/// [`Unreachable`].
pub async fn connect_between(
    host: &Whereabouts,
    sources: &[IpAddr],
    limit: Duration,
) -> Result<(Box<dyn Wire>, String, Option<Ends>), Unreachable> {
    match host {
        Whereabouts::Unix(path) => {
            let stream = timeout(limit, UnixStream::connect(path)).await.unwrap_or_else(|_| Err(late()));
            let stream = stream.map_err(|error| Unreachable(format!("{}: {error}", path.display())))?;
            Ok((Box::new(stream), path.display().to_string(), None))
        }
        Whereabouts::Tcp(addresses) => {
            let (stream, address) = race(addresses, sources, limit).await?;
            // A command waits for nothing that could be sent with it.
            let _ = stream.set_nodelay(true);
            let ends = stream.local_addr().ok().map(|own| Ends { from: own.ip(), to: address.ip() });
            Ok((Box::new(stream), address.to_string(), ends))
        }
    }
}

async fn race(
    addresses: &[SocketAddr],
    sources: &[IpAddr],
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Unreachable> {
    let mut running = JoinSet::new();
    let mut waiting = addresses.iter().copied();
    let mut problems = Vec::new();
    loop {
        let more = match waiting.next() {
            Some(address) => {
                let source = sources.iter().copied().find(|source| source.is_ipv4() == address.is_ipv4());
                running.spawn(async move {
                    let result = timeout(limit, one(address, source)).await.unwrap_or_else(|_| Err(late()));
                    (address, result)
                });
                true
            }
            None if running.is_empty() => break,
            None => false,
        };
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok((address, Ok(stream))) => return Ok((stream, address)),
                Ok((address, Err(error))) => problems.push(format!("{address}: {error}")),
                Err(broken) => problems.push(broken.to_string()),
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
    if problems.is_empty() {
        problems.push("the host has no address".into());
    }
    Err(Unreachable(problems.join("; ")))
}

async fn one(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_first_that_answers_wins() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        // Nobody listens where somebody just did.
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let limit = Duration::from_secs(5);
        let source: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap()];
        let (_, address) = connect(&Whereabouts::Tcp(vec![closed, good]), &source, limit).await.unwrap();
        assert_eq!(address, good.to_string());
        let Err(error) = connect(&Whereabouts::Tcp(vec![closed, closed]), &[], limit).await else {
            panic!("connected")
        };
        assert_eq!(error.to_string().matches(&closed.to_string()).count(), 2, "{error}");
        let Err(error) = connect(&Whereabouts::Tcp(vec![]), &[], limit).await else { panic!("connected") };
        assert!(error.to_string().contains("no address"), "{error}");
        let Err(error) = connect(&Whereabouts::Unix("/nowhere/socket".into()), &[], limit).await else {
            panic!("connected")
        };
        assert!(error.to_string().contains("/nowhere/socket"), "{error}");
    }
}
