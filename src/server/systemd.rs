//! What newswire and a service manager tell each other: systemd's protocol, made of environment
//! variables and one datagram socket.
//!
//! The manager may pass listeners (`LISTEN_FDS`). It keeps them while newswire restarts, so that
//! clients which connect meanwhile wait in the kernel and are not refused. newswire tells it when everything is
//! bound, when the configuration is read again and when the server goes down (`NOTIFY_SOCKET`). When the manager
//! asks for a beat (`WATCHDOG_USEC`), the loop itself gives it, so that the manager notices a loop that is stuck.
//! Without these variables nothing of this happens.
//!
//! Never here: binding, what a signal asks for, and waiting: a message that the manager does not take at once
//! is lost.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;

use super::StartError;

/// How much longer than its own time a shutdown may take before the manager ends the process.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Systemd {
    /// Passed listeners, until the server takes them.
    listeners: Vec<TcpListener>,
    notify: Option<(UnixDatagram, SocketAddr)>,
    /// The time between two beats, when the manager asks for beats.
    beat_interval: Option<Duration>,
    next_beat: Duration,
}

impl Systemd {
    /// What the environment says about the manager. It has to be called before there is a second thread, because it
    /// takes the variables about descriptors out of the environment: they are good once.
    ///
    /// # Errors
    /// When a variable names a socket that is not there.
    pub fn from_environment() -> Result<Self, StartError> {
        let pid = std::process::id();
        let is_ours = variable("WATCHDOG_PID").is_none_or(|asked| asked == pid.to_string());
        let watchdog = variable("WATCHDOG_USEC").filter(|_| is_ours);
        // Half of the time that is allowed, as sd_watchdog_enabled(3) advises.
        let beat_interval = watchdog
            .and_then(|micros| micros.parse().ok())
            .filter(|&micros: &u64| micros > 0)
            .map(|micros| Duration::from_micros(micros) / 2);
        Ok(Self {
            listeners: listeners()
                .map_err(|error| StartError::System("use the sockets of LISTEN_FDS", error))?,
            notify: notify()
                .map_err(|error| StartError::System("use the address in NOTIFY_SOCKET", error))?,
            beat_interval,
            next_beat: Duration::ZERO,
        })
    }

    /// The passed listeners. The second call answers none.
    pub fn take_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// Returns true when listeners were passed and not taken yet.
    pub fn has_listeners(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Everything is bound, or the configuration has been read again.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is about to be read again.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The server goes down, which takes `within` at most.
    pub fn stopping(&self, within: Duration) {
        let micros = (within + STOP_MARGIN).as_micros();
        self.tell(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=going down"
        ));
    }

    /// How long the loop may sleep.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        self.beat_interval
            .map(|_| self.next_beat.saturating_sub(now))
    }

    /// A turn is done. The manager shows the answer of `status` with the unit.
    pub fn beat(&mut self, now: Duration, status: impl FnOnce() -> String) {
        if let Some(interval) = self.beat_interval
            && now >= self.next_beat
        {
            self.next_beat = now + interval;
            self.tell(&format!("WATCHDOG=1\nSTATUS={}", status()));
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.notify
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            let word = text.lines().next().unwrap_or_default();
            log::warn!("systemd: not told {word} error={error}");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the service manager's variables are no options of newswire's, and are read here alone"
)]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The passed sockets. From here on they are closed on exec.
fn listeners() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let Some(listener) = passed.take_tcp_listener(index)? else {
            continue;
        };
        if !SockRef::from(&listener).is_listener()? {
            let text = format!("socket {} of them does not listen", index + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A socket that never waits, and the manager's address. The kernel looks the address up for each message: a
/// manager that was restarted has another socket at the same path.
fn notify() -> io::Result<Option<(UnixDatagram, SocketAddr)>> {
    let Some(name) = variable("NOTIFY_SOCKET") else {
        return Ok(None);
    };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(Some((socket, address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_wakes_up_for_a_beat_and_for_nothing_else() {
        let mut systemd = Systemd::default();
        assert_eq!(systemd.timeout(Duration::ZERO), None);
        systemd.beat(Duration::ZERO, || unreachable!("nobody asks for it"));

        let interval = Duration::from_secs(15);
        systemd.beat_interval = Some(interval);
        let now = Duration::from_secs(100);
        assert_eq!(systemd.timeout(now), Some(Duration::ZERO));
        systemd.beat(now, || "status".to_owned());
        assert_eq!(systemd.timeout(now), Some(interval));
        systemd.beat(now + interval / 2, || unreachable!("not yet"));
        assert_eq!(systemd.timeout(now + interval), Some(Duration::ZERO));
    }
}
