//! Finds the process that listens at an address: the next question of an operator whose port is taken.
//!
//! Linux lists listening sockets with their inodes in `/proc/net/tcp` and `tcp6`, and the open files of each process in
//! `/proc/PID/fd`. Only root can read the files of other users' processes.
//!
//! Never here: what follows from the answer, and errors: what cannot be read counts as unknown.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The process that listens at an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Occupant {
    /// This process itself; others that passed it the socket may listen too.
    ThisProcess,
    /// Another process.
    Process {
        /// The process's number.
        pid: u32,
        /// The process's name, at most 15 bytes.
        name: String,
    },
    /// A process of the user with this number; the system does not show which one.
    User(u32),
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisProcess => f.write_str("another listener of this newswire"),
            Self::Process { pid, name } => write!(f, "pid {pid} ({name})"),
            Self::User(user) => write!(f, "a process of another user (uid {user})"),
        }
    }
}

/// A line of the kernel's list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Listening {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

impl Listening {
    /// Returns the name of the socket in a process's list of files.
    fn socket(self) -> String {
        format!("socket:[{}]", self.inode)
    }
}

/// Returns the process that keeps `address` from being bound.
pub fn of(address: SocketAddr) -> Option<Occupant> {
    let found = find(&listening(), address)?;
    let socket = found.socket();
    if has_file(std::process::id(), &socket) == Some(true) {
        return Some(Occupant::ThisProcess);
    }
    let owner = owner(&socket);
    Some(owner.unwrap_or(Occupant::User(found.user)))
}

/// Returns the process that keeps a ZeroMQ endpoint from being bound. A host that is a name or an interface counts as
/// all addresses of this machine.
pub fn of_endpoint(endpoint: &str) -> Option<Occupant> {
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    of(SocketAddr::new(host, port.parse().ok()?))
}

/// Returns true when process `pid` is one of those that listen at `address`; `None` when no process of this machine
/// listens there, or the system does not show the files of `pid`.
pub fn listens(pid: u32, address: SocketAddr) -> Option<bool> {
    let list = listening();
    let sockets: Vec<String> = in_the_way(&list, address)
        .map(|listening| listening.socket())
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let has_one = sockets.iter().map(|socket| has_file(pid, socket));
    has_one.fold(None, |any, has| Some(any.unwrap_or(false) | has?))
}

/// Returns true when process `pid` has `file` open; `None` when the system does not show its files.
fn has_file(pid: u32, file: &str) -> Option<bool> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut targets = files.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Some(targets.any(|target| target.as_os_str() == file))
}

/// Returns the kernel's lists of listening sockets.
fn listening() -> String {
    let lists = ["/proc/net/tcp", "/proc/net/tcp6"];
    lists
        .iter()
        .filter_map(|list| fs::read_to_string(list).ok())
        .collect()
}

/// Returns the sockets in `list` that keep `address` from being bound.
fn in_the_way(list: &str, address: SocketAddr) -> impl Iterator<Item = Listening> {
    list.lines()
        .filter_map(parse)
        .filter(move |l| l.address.port() == address.port())
        .filter(move |l| {
            l.address.ip() == address.ip()
                || l.address.ip().is_unspecified()
                || address.ip().is_unspecified()
        })
}

/// Returns the socket in `list` that keeps `address` from being bound. One with exactly this address comes before one
/// for all addresses of the machine.
fn find(list: &str, address: SocketAddr) -> Option<Listening> {
    in_the_way(list, address).min_by_key(|l| l.address.ip() != address.ip())
}

/// Parses one line: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn parse(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (host, port) = fields[1].split_once(':')?;
    // The address's words in memory order, each printed as a number.
    let words = host.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        u32::from_str_radix(word, 16).ok()
    });
    let bytes: Vec<u8> = words
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = match <[u8; 4]>::try_from(&*bytes) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&*bytes).ok()?)),
    };
    Some(Listening {
        address: SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?),
        user: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// Returns the process with the lowest number that has `file` open: a parent comes before the children that it passed
/// the file to.
fn owner(file: &str) -> Option<Occupant> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let pid = pids
        .into_iter()
        .find(|&pid| has_file(pid, file) == Some(true))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim().escape_debug().to_string();
    Some(Occupant::Process { pid, name })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_process_is_found_by_its_listener() {
        for wanted in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            // A host without IPv6 cannot take it.
            let Ok(listener) = TcpListener::bind(wanted) else {
                continue;
            };
            let mut address = listener.local_addr().expect("bound");
            assert_eq!(of(address), Some(Occupant::ThisProcess));
            let file = format!(
                "socket:[{}]",
                find(&listening(), address).expect("there").inode
            );
            let Some(Occupant::Process { pid, .. }) = owner(&file) else {
                panic!("{address}: {:?}", owner(&file));
            };
            assert_eq!(pid, std::process::id());
            let port = address.port();
            assert_eq!(of_endpoint(&format!("tcp://{address}")), of(address));
            if address.is_ipv4() {
                assert_eq!(of_endpoint(&format!("tcp://*:{port}")), of(address));
            }
            assert_eq!(listens(std::process::id(), address), Some(true));
            // Whoever started this test listens on no port of its.
            let parent = std::os::unix::process::parent_id();
            assert_ne!(listens(parent, address), Some(true));
            drop(listener);
            address.set_port(0);
            assert_eq!(listens(std::process::id(), address), None);
            assert_eq!(of(address), None);
        }
        assert_eq!(of_endpoint("ipc:///tmp/x"), None);
        assert_eq!(of_endpoint("tcp://127.0.0.1:*"), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_exact_address_comes_before_all_addresses_and_connections_do_not_count() {
        let list = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:15B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 11 1 0 100 0 0 10 0
   1: 0100007F:15B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 22 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 33 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 \
00:00000000 00000000     7        0 44 1 0 100 0 0 10 0
garbage
";
        let inode = |address: &str| find(list, address.parse().expect("one")).map(|l| l.inode);
        assert_eq!(inode("127.0.0.1:5555"), Some(22));
        assert_eq!(inode("127.0.0.2:5555"), Some(11));
        assert_eq!(inode("127.0.0.1:8080"), None, "a connection, no listener");
        assert_eq!(inode("[::1]:8081"), Some(44));
        assert_eq!(inode("[::]:8081"), Some(44));
        assert_eq!(inode("127.0.0.1:1"), None);
    }
}
