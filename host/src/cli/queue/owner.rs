//! Whose process is at the other end of a connection to this machine.
//!
//! Owns the question, for Unix sockets and for TCP over the loopback. Refuses to decide who may be there. Fails where
//! the system does not tell, and where nobody listens any more: then the answer is not known.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpStream, UnixStream};

/// The user who listened where this is connected to.
pub(super) fn of_unix(stream: &UnixStream) -> io::Result<Vec<u32>> {
    Ok(vec![stream.peer_cred()?.uid()])
}

/// All users who may have taken this connection: one, as a rule.
pub(super) fn of_tcp(stream: &TcpStream) -> io::Result<Vec<u32>> {
    let (server, client) = (stream.peer_addr()?, stream.local_addr()?);
    let mut tables = fs::read_to_string("/proc/net/tcp")?;
    // A kernel may have no IPv6.
    tables.push_str(&fs::read_to_string("/proc/net/tcp6").unwrap_or_default());
    let owners = owners(&tables, server, client);
    if owners.is_empty() {
        Err(io::Error::new(io::ErrorKind::NotFound, "nobody listens there any more"))
    } else {
        Ok(owners)
    }
}

/// A line of `/proc/net/tcp`, as far as it matters (proc_pid_net(5)).
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
    uid: u32,
    /// 0: no process has it (yet).
    inode: u64,
}

/// Who listens at `server`, and who has the server's end of this connection; empty where nobody listens.
fn owners(tables: &str, server: SocketAddr, client: SocketAddr) -> Vec<u32> {
    let (server, client) = (canonical(server), canonical(client));
    let sockets: Vec<Socket> = tables.lines().filter_map(socket).collect();
    let here = |socket: &&Socket| socket.listens && socket.local.port() == server.port();
    let at = |wanted: &dyn Fn(IpAddr) -> bool| -> Vec<u32> {
        sockets.iter().filter(here).filter(|one| wanted(one.local.ip())).map(|one| one.uid).collect()
    };
    // The narrower address has the connection.
    let mut owners = at(&|ip| ip == server.ip());
    if owners.is_empty() {
        owners = at(&|ip| ip.is_unspecified() && (ip.is_ipv4() == server.is_ipv4() || ip.is_ipv6()));
    }
    if !owners.is_empty() {
        let taken = sockets.iter().filter(|one| one.inode != 0 && one.local == server && one.remote == client);
        owners.extend(taken.map(|one| one.uid));
    }
    owners
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn socket(line: &str) -> Option<Socket> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (address(fields.next()?)?, address(fields.next()?)?, fields.next()?);
    let (uid, inode) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.parse().ok()?);
    Some(Socket { local, remote, listens: state == LISTENS, uid, inode })
}

/// `0100007F:1F90`: 32 bits at a time, as this machine has them in memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let part = |place: usize| Some(u32::from_str_radix(ip.get(place..place + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(part(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (place, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&part(8 * place)?);
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn who_listens() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |local: &str, remote: &str, state: &str, uid: u32, inode: u32| {
            format!(
                "   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0\n"
            )
        };
        let listens = |local: &str, uid| line(local, "00000000:0000", "0A", uid, 7);
        let (one, any) = ("0100007F:1F59", "00000000:1F59");
        let six = |ip: &str| format!("{ip}:1F59");
        let (one6, any6) = (six("00000000000000000000000001000000"), six("00000000000000000000000000000000"));
        let mapped = six("0000000000000000FFFF00000100007F");
        let client = "0100007F:C001";
        for (lines, server, expected) in [
            (vec![], "127.0.0.1:8025", &[][..]),
            (vec![listens(one, 1000)], "127.0.0.1:8025", &[1000]),
            (vec![listens("0100007F:1F5A", 1000), listens("0200007F:1F59", 1001)], "127.0.0.1:8025", &[]),
            (vec![listens(any, 1000)], "127.0.0.1:8025", &[1000]),
            (vec![listens(any, 1000), listens(one, 1001)], "127.0.0.1:8025", &[1001]),
            (vec![listens(&any6, 1000)], "127.0.0.1:8025", &[1000]),
            (vec![listens(&mapped, 1000)], "127.0.0.1:8025", &[1000]),
            (vec![listens(&one6, 1000)], "[::1]:8025", &[1000]),
            (vec![listens(any, 1000)], "[::1]:8025", &[]),
            // Several processes may share a port.
            (vec![listens(one, 1000), listens(one, 1001)], "127.0.0.1:8025", &[1000, 1001]),
            // Somebody else took the connection before the server listened; or nobody has yet.
            (vec![listens(one, 1000), line(one, client, "01", 1001, 8)], "127.0.0.1:8025", &[1000, 1001]),
            (vec![listens(one, 1000), line(one, client, "01", 0, 0)], "127.0.0.1:8025", &[1000]),
            (vec![line(one, client, "01", 1000, 8)], "127.0.0.1:8025", &[]),
            (vec!["nonsense\n".into(), listens("7F:1F59", 1000)], "127.0.0.1:8025", &[]),
        ] {
            let table = format!("{head}{}", lines.concat());
            let found = owners(&table, server.parse().unwrap(), "127.0.0.1:49153".parse().unwrap());
            assert_eq!(found, expected, "{server}\n{table}");
        }
    }

    #[tokio::test]
    async fn it_is_us() {
        let us = rustix::process::getuid().as_raw();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _unix = UnixListener::bind(&path).unwrap();
        assert_eq!(of_unix(&UnixStream::connect(&path).await.unwrap()).unwrap(), [us]);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has IPv6.
            let Ok(tcp) = TcpListener::bind(address).await else { continue };
            let stream = TcpStream::connect(tcp.local_addr().unwrap()).await.unwrap();
            assert_eq!(of_tcp(&stream).unwrap(), [us], "{address}");
            let _taken = tcp.accept().await.unwrap();
            assert_eq!(of_tcp(&stream).unwrap(), [us, us], "{address}");
            drop(tcp);
            assert!(of_tcp(&stream).is_err(), "{address}: nobody listens");
        }
    }
}
