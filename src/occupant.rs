//! Who has a port, as far as the system tells: the next thing that an operator asks when it is taken.
//!
//! Linux lists listening sockets with their inodes in `/proc/net/tcp` and `tcp6`, and the files of each
//! process in `/proc/PID/fd`; of other users' processes only root may see the latter.
//!
//! Never here: what is to be done about it, and errors: what cannot be read is not known.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whoever listens at an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Occupant {
    /// The process that asks, perhaps among others that have passed it the socket.
    ThisProcess,
    /// A process, and what it is called.
    Process {
        /// Its number.
        pid: u32,
        /// Its name, of up to 15 bytes.
        name: String,
    },
    /// A process that cannot be seen, of the user with this number.
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
    /// How a process's list of files names it.
    fn socket(self) -> String {
        format!("socket:[{}]", self.inode)
    }
}

/// Who keeps `address` from being bound.
pub fn of(address: SocketAddr) -> Option<Occupant> {
    let found = find(&listening(), address)?;
    let socket = found.socket();
    if has_file(std::process::id(), &socket) == Some(true) {
        return Some(Occupant::ThisProcess);
    }
    let owner = owner(&socket);
    Some(owner.unwrap_or(Occupant::User(found.user)))
}

/// Who keeps a ZeroMQ endpoint from being bound. A host that is a name or an interface counts as all of
/// this machine's addresses.
pub fn of_endpoint(endpoint: &str) -> Option<Occupant> {
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    of(SocketAddr::new(host, port.parse().ok()?))
}

/// Whether process `pid` is one of those that listen at `address`. `None`: nobody does on this machine, or
/// the system does not show the files of that process.
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

/// Whether process `pid` has `file` open; `None` when that is not shown.
fn has_file(pid: u32, file: &str) -> Option<bool> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut targets = files.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Some(targets.any(|target| target.as_os_str() == file))
}

/// The kernel's lists of listening sockets.
fn listening() -> String {
    let lists = ["/proc/net/tcp", "/proc/net/tcp6"];
    lists
        .iter()
        .filter_map(|list| fs::read_to_string(list).ok())
        .collect()
}

/// Those in `list` that are in the way of `address`.
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

/// The one in `list` that is in the way of `address`: the exact one, before one that is for all of the
/// machine's addresses.
fn find(list: &str, address: SocketAddr) -> Option<Listening> {
    in_the_way(list, address).min_by_key(|l| l.address.ip() != address.ip())
}

/// One line: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn parse(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (host, port) = fields[1].split_once(':')?;
    // Words of the address as they lie in memory, each printed as a number.
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

/// The process with the lowest number that has `file` open: a parent comes before the children that it
/// passed the file to.
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
