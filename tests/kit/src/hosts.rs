//! Hosts on one machine: network namespaces, and switches that join them. A test cuts a cable, silences one direction of
//! it, or makes it bad.
//!
//! A namespace is there for as long as a file names it or a process is in it, and a cable for as long as its ends are. So
//! everything is gone when the test's process is, however that has ended. Nothing has a name outside.
//!
//! It takes root, and Debian's package `iproute2`.
//!
//! Never here: what runs on a host.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::panic;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A host: its own interfaces, addresses and ports. It has the files of the machine.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: Arc<File>,
    cables: Arc<AtomicU8>,
}

impl Host {
    /// One that nothing is joined to yet.
    pub fn new() -> Self {
        // A thread leaves the machine's network, and ends; the file keeps the new one.
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network");
            File::open("/proc/thread-self/ns/net").expect("procfs")
        };
        let host = Self {
            namespace: Arc::new(thread::spawn(open).join().expect("a namespace")),
            cables: Arc::default(),
        };
        host.configure("ip link set lo up");
        host
    }

    /// Does something on this host. Sockets that are made meanwhile, and processes that are started, stay here.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let on_the_host = || {
            setns(&*self.namespace, CloneFlags::CLONE_NEWNET).expect("it is there");
            act()
        };
        let done = thread::scope(|scope| scope.spawn(on_the_host).join());
        done.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// In segments, what TCP has sent from here more than once.
    pub fn resent(&self) -> u64 {
        let counters = self.run(|| fs::read_to_string("/proc/thread-self/net/snmp"));
        let counters = counters.expect("procfs");
        // A line of names, and one of values.
        let mut lines = counters.lines().filter(|line| line.starts_with("Tcp:"));
        let [names, values] = [lines.next(), lines.next()].map(|line| line.expect("a line"));
        let mut pairs = names.split(' ').zip(values.split(' '));
        let (_, value) = pairs
            .find(|(name, _)| *name == "RetransSegs")
            .expect("a counter");
        value.parse().expect("a number")
    }

    /// Has `ip` or `tc` do something here, which has to succeed.
    fn configure(&self, line: &str) {
        if let Err(said) = self.try_to_configure(line) {
            panic!("{line}: {said}");
        }
    }

    /// The same. An error is what the program says.
    fn try_to_configure(&self, line: &str) -> Result<String, String> {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        let output = self.run(|| command.output()).expect("iproute2");
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// A switch, and the network of the hosts that are joined to it.
#[derive(Debug)]
pub struct Network {
    switch: Host,
    number: u8,
    cables: AtomicU8,
}

impl Network {
    /// The network 10.0.`number`.0/24, without hosts.
    pub fn new(number: u8) -> Self {
        let switch = Host::new();
        switch.configure("ip link add switch type bridge");
        switch.configure("ip link set switch up");
        Self {
            switch,
            number,
            cables: AtomicU8::new(0),
        }
    }

    /// Joins `host` to the switch. It gets the next address, from 10.0.`number`.1 on.
    pub fn join(&self, host: &Host) -> Cable {
        let place = self.cables.fetch_add(1, Ordering::Relaxed) + 1;
        let interface = format!("eth{}", host.cables.fetch_add(1, Ordering::Relaxed));
        let (port, switch) = (format!("port{place}"), &self.switch);
        let address = Ipv4Addr::new(10, 0, self.number, place);
        let (process, file) = (std::process::id(), switch.namespace.as_raw_fd());
        host.configure(&format!(
            "ip link add {interface} type veth peer name {port} netns /proc/{process}/fd/{file}"
        ));
        host.configure(&format!("ip address add {address}/24 dev {interface}"));
        host.configure(&format!("ip link set {interface} up"));
        switch.configure(&format!("ip link set {port} master switch up"));
        Cable {
            host: host.clone(),
            switch: switch.clone(),
            interface,
            port,
            address,
        }
    }
}

/// Which way packets go on a cable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// From the switch to the host.
    ToHost,
    /// From the host to the switch.
    FromHost,
}

/// A cable between a host and a switch.
#[derive(Debug)]
pub struct Cable {
    host: Host,
    switch: Host,
    /// The host's end.
    interface: String,
    /// The switch's end.
    port: String,
    /// The host's address on this cable.
    pub address: Ipv4Addr,
}

impl Cable {
    /// Cuts it: the host sees that there is no carrier, and others see nothing.
    pub fn cut(&self) {
        self.switch
            .configure(&format!("ip link set {} down", self.port));
    }

    /// Mends what was cut.
    pub fn mend(&self) {
        self.switch
            .configure(&format!("ip link set {} up", self.port));
    }

    /// Drops every packet that goes `way`. Nobody is told.
    pub fn silence(&self, way: Way) {
        let (host, end) = self.sender(way);
        host.configure(&format!("tc qdisc replace dev {end} root blackhole"));
    }

    /// Delays packets, and loses some, both ways. Returns how.
    ///
    /// Not every kernel has netem. Without it the cable becomes a slow one with a short queue: packets wait in it, and
    /// those that find it full are lost.
    pub fn worsen(&self) -> &'static str {
        let ways = [
            "netem delay 15ms 5ms loss 5% limit 1000",
            "tbf rate 2mbit burst 3000 limit 6000",
        ];
        let worsen_by = |way: &str| {
            [Way::ToHost, Way::FromHost].into_iter().all(|direction| {
                let (host, end) = self.sender(direction);
                host.try_to_configure(&format!("tc qdisc replace dev {end} root {way}"))
                    .is_ok()
            })
        };
        let taken = ways.into_iter().find(|way| worsen_by(way));
        taken.expect("the kernel has netem or tbf")
    }

    /// In packets, what was lost on the way to the host since the cable was made worse.
    pub fn lost(&self) -> u64 {
        let (host, end) = self.sender(Way::ToHost);
        let said = host.try_to_configure(&format!("tc -s qdisc show dev {end} root"));
        let said = said.expect("tc");
        let (_, rest) = said.split_once("(dropped ").expect("a count");
        let (count, _) = rest.split_once(',').expect("a count");
        count.parse().expect("a number")
    }

    /// Makes it good again, after [`Cable::silence`] or [`Cable::worsen`].
    pub fn clear(&self) {
        for way in [Way::ToHost, Way::FromHost] {
            let (host, end) = self.sender(way);
            // There may be nothing to be removed.
            let _ = host.try_to_configure(&format!("tc qdisc del dev {end} root"));
        }
    }

    /// Who sends `way`, and through which interface.
    fn sender(&self, way: Way) -> (&Host, &str) {
        match way {
            Way::ToHost => (&self.switch, &self.port),
            Way::FromHost => (&self.host, &self.interface),
        }
    }
}
