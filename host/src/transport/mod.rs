//! Octets in and out: TCP or Unix sockets, the PROXY header before anything else, TLS when it is asked for.

pub mod proxy;
pub mod tls;
