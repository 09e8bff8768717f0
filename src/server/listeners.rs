//! Listeners and accepted sockets: the only place that knows that a stream is a `TcpStream`. All others have a
//! [`ClientStream`], so that TLS could be put in here.
//!
//! All options are set on the listeners; accepted sockets inherit them. So a newcomer costs one
//! `accept4` and one `epoll_ctl`.
//!
//! Never here: what is said on a socket, except for the refusal that a peer gets when there is no place.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::outside::Accepted;
use crate::config::ListenOptions;
use crate::engine::Stream;
use crate::limits;
use crate::stats::Refusal;
use crate::wire::http;

/// How many refused streams are kept open for a moment. Their descriptors are among the reserved ones.
const LINGERING_MAX: usize = 64;
/// How long they are kept.
const LINGER: Duration = Duration::from_secs(limits::REFUSED_LINGER_SECONDS);

/// A connection's stream, as it comes out of a listener.
pub type ClientStream = TcpStream;

impl Stream for ClientStream {
    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// The options of each client's socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// In bytes, `TCP_NOTSENT_LOWAT`.
    pub unsent_bytes_max: usize,
    /// In seconds, `TCP_USER_TIMEOUT`.
    pub unacknowledged_seconds: u32,
    /// True exactly when other processes of this user listen on the same port (`SO_REUSEPORT`).
    pub shares_port: bool,
}

impl SocketOptions {
    /// Those of a configuration.
    pub fn new(listen: &ListenOptions, shares_port: bool) -> Self {
        Self {
            unsent_bytes_max: listen.unsent_bytes_max,
            unacknowledged_seconds: listen.unacknowledged_seconds,
            shares_port,
        }
    }
}

/// All listeners, and what they need to refuse.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// How many of them, the first ones, were passed by systemd.
    passed: usize,
    /// Listeners that may have newcomers which the poller will not report. A listener that was asked goes to the
    /// end.
    ready: VecDeque<usize>,
    /// A spare descriptor, from the first turn on, if there is a listener. When the file table is full, it is
    /// closed, so that one peer can be accepted and told.
    spare: Option<File>,
    /// True exactly when the kernel could not accept a newcomer in this turn.
    is_exhausted: bool,
    /// Refused streams. If such a stream were closed before its request was read, the kernel would answer the
    /// request with a reset, which destroys the refusal.
    lingering: VecDeque<(Duration, ClientStream)>,
}

impl Listeners {
    /// Listens with the `passed` sockets, and on those of `addresses` that none of these sockets serves.
    ///
    /// # Errors
    /// With the address that could not be bound.
    pub fn bind(
        addresses: &[SocketAddr],
        passed: Vec<std::net::TcpListener>,
        options: SocketOptions,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        let mut taken_over = Vec::new();
        for listener in passed {
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            let address = listener.local_addr().map_err(|error| (unknown, error))?;
            let both = take_over(&listener, address, options).map_err(|error| (address, error))?;
            taken_over.push((address, both));
            bound.push(address);
            listeners.push(TcpListener::from_std(listener));
        }
        let passed = bound.len();
        for &address in addresses {
            if taken_over
                .iter()
                .any(|&(other, both)| covers(other, both, address))
            {
                continue;
            }
            // `[::]` alone accepts IPv4 as well; beside an IPv4 listener of the same port it must not.
            let shares_port = addresses
                .iter()
                .chain(&bound[..passed])
                .any(|other| other.is_ipv4() && other.port() == address.port());
            let listener = listen(address, address.is_ipv6() && shares_port, options)
                .map_err(|error| (address, error))?;
            bound.push(listener.local_addr().map_err(|error| (address, error))?);
            listeners.push(listener);
        }
        Ok(Self {
            ready: (0..listeners.len()).collect(),
            listeners,
            addresses: bound,
            passed,
            spare: None,
            is_exhausted: false,
            lingering: VecDeque::new(),
        })
    }

    /// The addresses as bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many of them, the first ones, were passed.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// Registers each listener under the token that `token` has for its number.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn register(
        &mut self,
        registry: &Registry,
        token: impl Fn(usize) -> Token,
    ) -> io::Result<()> {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            registry.register(listener, token(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// A listener has newcomers.
    pub fn handle_readiness(&mut self, index: usize) {
        if index < self.listeners.len() && !self.ready.contains(&index) {
            self.ready.push_back(index);
        }
    }

    /// Returns true when a newcomer may be waiting which the poller will not report.
    pub fn is_ready(&self) -> bool {
        !self.is_exhausted && !self.ready.is_empty()
    }

    /// Returns true when [`Listeners::tick`] has to be called within a second.
    pub fn is_waiting(&self) -> bool {
        self.is_exhausted || !self.lingering.is_empty()
    }

    /// A turn begins: what could not be accepted is tried again, and streams that were refused long enough ago
    /// are closed.
    pub fn tick(&mut self, now: Duration) {
        self.is_exhausted = false;
        if self.spare.is_none() && !self.listeners.is_empty() {
            self.spare = File::open("/dev/null").ok();
        }
        while let Some((since, _)) = self.lingering.front()
            && now >= *since + LINGER
        {
            self.let_go();
        }
    }

    /// Accepts a newcomer. The listeners take turns.
    pub fn accept(&mut self, now: Duration) -> Accepted<ClientStream> {
        while !self.is_exhausted
            && let Some(index) = self.ready.pop_front()
        {
            let accepted = self.listeners[index].accept();
            let error = match accepted {
                Ok((stream, peer)) => {
                    self.ready.push_back(index);
                    return Accepted::Newcomer(stream, peer);
                }
                // The next newcomer comes with readiness.
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => error,
            };
            self.ready.push_back(index);
            match error.kind() {
                // The newcomer has left, or a signal came: there may be others.
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                _ if is_out_of_files(&error) => return self.accept_with_spare(index, now),
                // In this turn the kernel would say the same again.
                _ => {
                    log::error!("accept: error={error}");
                    self.is_exhausted = true;
                }
            }
        }
        Accepted::Nobody
    }

    fn accept_with_spare(&mut self, index: usize, now: Duration) -> Accepted<ClientStream> {
        // Streams that linger have descriptors too.
        while !self.lingering.is_empty() {
            self.let_go();
        }
        self.spare = None;
        let accepted = match self.listeners[index].accept() {
            Ok((stream, _)) => {
                self.refuse(stream, Refusal::Full, now);
                self.let_go();
                Accepted::TurnedAway
            }
            Err(_) => Accepted::Nobody,
        };
        self.spare = File::open("/dev/null").ok();
        self.is_exhausted = self.spare.is_none() || matches!(accepted, Accepted::Nobody);
        accepted
    }

    /// Tells a peer that there is no place.
    pub fn refuse(&mut self, mut stream: ClientStream, refusal: Refusal, now: Duration) {
        let mut answer = Vec::new();
        let mut start = [0; 5];
        let is_head = (stream.peek(&mut start)).is_ok_and(|n| http::is_head(&start[..n]));
        http::encode_refusal(refusal, is_head, &mut answer);
        // An empty socket buffer takes so few bytes at once, or the peer is gone.
        if stream.write_all(&answer).is_ok() && stream.finish().is_ok() {
            self.lingering.push_back((now, stream));
        }
        if self.lingering.len() > LINGERING_MAX {
            self.let_go();
        }
    }

    /// Reads the request of the stream that has lingered longest, and closes it.
    fn let_go(&mut self) {
        if let Some((_, mut stream)) = self.lingering.pop_front() {
            let mut request = [0; limits::HEAD_BYTES_MAX];
            let _ = stream.read(&mut request);
        }
    }

    /// Accepts no newcomer any more. Newcomers at a passed listener wait in the kernel for the next newswire. That
    /// socket stays open, so the poller has to be told, or it would go on reporting them.
    pub fn close(&mut self, registry: &Registry) {
        for mut listener in self.listeners.drain(..) {
            if let Err(error) = registry.deregister(&mut listener) {
                log::error!("close: listener error={error}");
            }
        }
        self.ready.clear();
    }
}

fn listen(address: SocketAddr, only_v6: bool, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait until the kernel has forgotten the old server's connections.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.shares_port)?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    prepare(&SockRef::from(&socket), options)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Sets the options that accepted sockets inherit.
fn prepare(socket: &SockRef<'_>, options: SocketOptions) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let unsent = u32::try_from(options.unsent_bytes_max).unwrap_or(u32::MAX);
    socket.set_tcp_notsent_lowat(unsent)?;
    let unacknowledged = Duration::from_secs(options.unacknowledged_seconds.into());
    socket.set_tcp_user_timeout(Some(unacknowledged))
}

/// Sets the options of a passed listener. Answers true when it accepts both families of addresses. Connections
/// that came before this have the kernel's own options.
fn take_over(
    listener: &std::net::TcpListener,
    address: SocketAddr,
    options: SocketOptions,
) -> io::Result<bool> {
    let socket = SockRef::from(listener);
    prepare(&socket, options)?;
    Ok(address.is_ipv6() && !socket.only_v6()?)
}

/// Returns true when a peer that connects to `wanted` reaches a listener of `address`, which accepts `both`
/// families or its own.
fn covers(address: SocketAddr, both: bool, wanted: SocketAddr) -> bool {
    let same_family = address.is_ipv4() == wanted.is_ipv4();
    let all = address.ip().is_unspecified() && (same_family || both);
    address.port() == wanted.port() && (address.ip() == wanted.ip() || all)
}

/// EMFILE or ENFILE, for which `ErrorKind` has no name.
fn is_out_of_files(error: &io::Error) -> bool {
    let error = error.raw_os_error();
    error == Some(rustix::io::Errno::MFILE.raw_os_error())
        || error == Some(rustix::io::Errno::NFILE.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_all_addresses_covers_each_of_them() {
        for (listener, both, wanted, expected) in [
            ("127.0.0.1:80", false, "127.0.0.1:80", true),
            ("127.0.0.1:80", false, "127.0.0.1:81", false),
            ("127.0.0.1:80", false, "127.0.0.2:80", false),
            ("127.0.0.1:80", false, "0.0.0.0:80", false),
            ("0.0.0.0:80", false, "127.0.0.1:80", true),
            ("0.0.0.0:80", false, "[::1]:80", false),
            ("[::]:80", true, "127.0.0.1:80", true),
            ("[::]:80", false, "127.0.0.1:80", false),
            ("[::]:80", false, "[::1]:80", true),
        ] {
            let of = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let covered = covers(of(listener), both, of(wanted));
            assert_eq!(covered, expected, "{listener} {both} {wanted}");
        }
    }
}
