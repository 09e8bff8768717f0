//! Resolves host names on threads of their own, because a nameserver may take any time to answer.
//!
//! Each name that the server resolves again and again has its own [`Resolver`] and thread, so that a silent nameserver
//! delays no other name. A command resolves a name once, with a deadline ([`within`]).
//!
//! Never here: what an address is used for, and a nameserver's protocol (the system speaks it).

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use super::{HostPort, distinct};

/// The addresses of a name, in the order in which they should be tried; or why there are none.
pub type Answer = Result<Vec<SocketAddr>, String>;

/// Knows the addresses of names.
pub trait Resolve: Send + 'static {
    /// Resolves `name`, and waits for as long as it takes.
    ///
    /// # Errors
    /// Returns why there is no address.
    fn resolve(&mut self, name: &HostPort) -> Answer;
}

/// The system's own resolver: `/etc/hosts`, nameservers, and whatever `nsswitch.conf` says. It sorts the
/// addresses by how well this host can reach them (RFC 6724).
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Resolve for System {
    fn resolve(&mut self, name: &HostPort) -> Answer {
        let found = (&*name.host, name.port).to_socket_addrs();
        let found = distinct(found.map_err(|error| error.to_string())?);
        match found.is_empty() {
            true => Err("the name has no address".to_owned()),
            false => Ok(found),
        }
    }
}

/// Resolves one name whenever it is asked. A thread that waits for an answer when the resolver is dropped ends by
/// itself.
#[derive(Debug)]
pub struct Resolver {
    questions: Sender<()>,
    answers: Receiver<Answer>,
    /// True exactly while an answer is awaited: at most one question is under way.
    is_asked: bool,
}

impl Resolver {
    /// Starts the thread for `name`. It calls `wake` after each answer.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        name: HostPort,
        mut resolve: impl Resolve,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, String> {
        let (questions, asked) = channel();
        let (answer, answers) = channel();
        let described = name.to_string();
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                while asked.recv().is_ok() {
                    if answer.send(resolve.resolve(&name)).is_err() {
                        return;
                    }
                    wake();
                }
            })
            .map_err(|error| format!("cannot start a thread to resolve {described}: {error}"))?;
        Ok(Self {
            questions,
            answers,
            is_asked: false,
        })
    }

    /// Asks, unless an answer is still awaited.
    pub fn ask(&mut self) {
        if !self.is_asked {
            // `poll_answer` notices a thread that has ended.
            let _ = self.questions.send(());
            self.is_asked = true;
        }
    }

    /// Returns the answer, once it has arrived.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        if !self.is_asked {
            return None;
        }
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the resolver's thread has ended".to_owned()),
        };
        self.is_asked = false;
        Some(answer)
    }
}

/// Resolves `name` and waits for the answer, but not for longer than `timeout`.
///
/// # Errors
/// Returns why there is no address.
pub fn within(timeout: Duration, name: &HostPort, mut resolve: impl Resolve) -> Answer {
    let (answer, answers) = channel();
    let asked = name.clone();
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            // The caller may have stopped waiting.
            let _ = answer.send(resolve.resolve(&asked));
        })
        .map_err(|error| format!("cannot start a thread to resolve {name}: {error}"))?;
    answers.recv_timeout(timeout).unwrap_or_else(|_| {
        Err(format!(
            "no nameserver has answered within {} s",
            timeout.as_secs_f32()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn name() -> HostPort {
        HostPort {
            host: "publisher.test".to_owned(),
            port: 5555,
        }
    }

    /// Answers what the test sends to it, and waits until then.
    struct Scripted(Receiver<Answer>);

    impl Resolve for Scripted {
        fn resolve(&mut self, _: &HostPort) -> Answer {
            self.0.recv().expect("the test goes on")
        }
    }

    #[test]
    fn a_question_is_asked_once_and_whoever_asks_does_not_wait() {
        let (script, scripted) = channel();
        let (woken, wakes) = channel();
        let mut resolver = Resolver::start(name(), Scripted(scripted), move || {
            let _ = woken.send(());
        })
        .expect("a thread");
        assert_eq!(resolver.poll_answer(), None, "nothing was asked");
        resolver.ask();
        resolver.ask();
        assert_eq!(resolver.poll_answer(), None, "nobody has answered");

        let address: SocketAddr = "192.0.2.1:5555".parse().expect("an address");
        script.send(Ok(vec![address])).expect("it listens");
        wakes.recv_timeout(PATIENCE).expect("is woken up");
        assert_eq!(resolver.poll_answer(), Some(Ok(vec![address])));
        assert_eq!(resolver.poll_answer(), None, "the second question was none");

        resolver.ask();
        script.send(Err("no".to_owned())).expect("it listens");
        wakes.recv_timeout(PATIENCE).expect("is woken up");
        assert_eq!(resolver.poll_answer(), Some(Err("no".to_owned())));
    }

    #[test]
    fn a_silent_nameserver_keeps_nobody_for_longer_than_the_deadline() {
        let (_script, scripted) = channel();
        let answer = within(Duration::from_millis(5), &name(), Scripted(scripted));
        let text = answer.expect_err("nobody answered");
        assert!(text.contains("within 0.005 s"), "{text}");
    }

    #[test]
    fn the_system_knows_this_host() {
        let local = HostPort {
            host: "localhost".to_owned(),
            port: 7,
        };
        let found = within(PATIENCE, &local, System).expect("has an address");
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
        let nobody = HostPort {
            host: "no.such.host.invalid".to_owned(),
            port: 7,
        };
        assert!(System.resolve(&nobody).is_err());
    }
}
