//! `newswire load`: how a push server behaves with very many subscribers.
//!
//! It has four steps: connect all subscribers; publish probes until each has received one; publish, at a rate or as
//! fast as deliveries return; wait for the events that are still on their way. Everything is on one thread, so that on
//! two cores the server has the other one.
//!
//! The probes are there because WAMP v1 has no answer to a SUBSCRIBE, and to find out whether events reach this server
//! at all. With WAMP v2 and server-sent events, a subscriber counts as connected when its subscription is confirmed.
//!
//! With `--blink`, subscribers vanish while events are published, and come back with their position; with `--slow`, some
//! of them read slowly. Only then is anything said that only newswire understands: other servers ignore it.
//!
//! Never here: what is said in a protocol (`speech`).

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is time, on a clock of its own"
)]

mod blink;
mod blocks;
mod crowd;
pub mod fleet;
mod frames;
mod holes;
mod options;
mod positions;
pub mod process;
mod reasons;
mod report;
mod sips;
mod speech;
mod tally;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use options::LoadArguments;
pub(super) use options::command;

use super::Failure;
use super::protocol::Protocol;
use super::publish::envelope;
use super::publisher::{Absent, Publisher};
use crate::occupant;
use blink::Blinks;
use crowd::{Crowd, Past};
use fleet::{Course, Fleet, FleetEvent};
use positions::Positions;
use process::Usage;
use reasons::{denied, refusal, unheard};
use report::{BlinkReport, LoadReport, ServerReport, SlowReport};
use sips::Sips;
use speech::HeadMeaning;
use tally::LoadTally;

/// Handshakes under way at a time. More would overflow the server's queue of connections, and the kernel would send
/// their first packets again only after a second.
const HANDSHAKES_MAX: usize = 512;

/// How long a step may take that is expected to succeed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two probes of a topic.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last deliveries may take after the one before them.
const DRAIN: Duration = Duration::from_secs(3);

/// The longest sleep, so that Ctrl-C and the progress bar are served in between.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a load test and prints its result.
///
/// # Errors
/// When it could not be carried out, or when deliveries were lost, doubled or out of order.
pub fn run(options: &LoadArguments) -> Result<(), Failure> {
    super::ignore_summary_signal()?;
    let mut test = Test::new(options)?;
    test.connect()?;
    test.probe()?;
    test.publish()?;
    test.drain()?;
    let report = test.report();
    super::print(&if options.json {
        format!("{}\n", report.json())
    } else {
        report.text()
    });
    match report.fault() {
        Some(text) => Err(Failure::Runtime(text)),
        None => Ok(()),
    }
}

/// A load test under way.
struct Test<'a> {
    options: &'a LoadArguments,
    publisher: Box<dyn Publisher>,
    fleet: Fleet,
    tally: LoadTally,
    crowd: Crowd,
    /// `None` while nobody asks for the past.
    positions: Option<Positions>,
    /// From the first event of the test on, if subscribers blink.
    blinks: Option<Blinks>,
    /// From the first event of the test on, if there are slow readers.
    sips: Option<Sips>,
    progress: ProgressBar,
    is_interrupted: Arc<AtomicBool>,
    started: Instant,
    usage: [Option<Usage>; 3],
    own_resident: [Option<u64>; 2],
    handshake_time: Duration,
    publish_from: Duration,
    last_delivery: Duration,
}

fn runtime(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Runtime(format!("cannot {what}: {error}"))
}

/// Looks at the process whose CPU time and memory the report shows. When the process does not listen at `address`,
/// that is a warning only, because a proxy may stand in front of it.
fn look_at(pid: u32, address: SocketAddr) -> Result<(), Failure> {
    if process::usage(pid).is_none() {
        return Err(Failure::Usage(format!(
            "--pid: {pid}: there is no such process on this machine"
        )));
    }
    if occupant::listens(pid, address) == Some(false) {
        let who = match occupant::of(address) {
            Some(occupant) => format!(", but {occupant}"),
            None => String::new(),
        };
        super::tell(&format!(
            "warning: --pid {pid} does not listen on {address}{who}: the CPU time and memory may not be \
             the server's"
        ));
    }
    Ok(())
}

impl<'a> Test<'a> {
    fn new(options: &'a LoadArguments) -> Result<Self, Failure> {
        let course = Course {
            address: options.target.url.resolve().map_err(Failure::Runtime)?,
            request: options.target.request().into_bytes(),
            topics: options.topics.clone(),
        };
        if let Some(pid) = options.pid {
            look_at(pid, course.address)?;
        }
        let publisher = options.to.connect(PATIENCE, Absent::GiveUp)?;

        let is_interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second Ctrl-C ends the program in the usual way.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_interrupted))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&is_interrupted)))
                .map_err(runtime("listen to Ctrl-C"))?;
        }
        let shows_progress = !options.json && std::io::stderr().is_terminal();
        let target = if shows_progress {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let run = std::process::id();
        let protocol = options.target.protocol;
        let fleet = Fleet::speaking(protocol, options.target.ticket().cloned(), course);
        let mut fleet = fleet.map_err(runtime("create a poller"))?;
        let mut tally = LoadTally::new(run, protocol, &options.topics, options.connections);
        fleet.have_slow_readers(options.slow);
        tally.have_slow_readers(options.slow);
        // Slow readers ask as well: a server tells only those of gaps that have asked for the past.
        let asks = options.blink.is_some() || (options.slow > 0 && protocol != Protocol::Wamp1);
        if asks {
            fleet.ask_for_past();
        }
        Ok(Self {
            fleet,
            tally,
            positions: asks.then(|| Positions::new(options.connections, options.slow)),
            blinks: None,
            sips: None,
            crowd: Crowd {
                pasts: vec![Past::default(); options.connections],
                ..Crowd::default()
            },
            progress: ProgressBar::with_draw_target(None, target),
            is_interrupted,
            started: Instant::now(),
            usage: [options.pid.and_then(process::usage), None, None],
            own_resident: [own_resident(), None],
            handshake_time: Duration::ZERO,
            publish_from: Duration::ZERO,
            last_delivery: Duration::ZERO,
            options,
            publisher,
        })
    }

    fn stops(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn show(&self, what: &'static str, length: u64) {
        let style =
            ProgressStyle::with_template("{msg:11} {wide_bar} {human_pos}/{human_len} {elapsed}");
        self.progress.reset();
        self.progress.set_length(length);
        if let Ok(style) = style {
            self.progress.set_style(style);
        }
        self.progress.set_message(what);
    }

    /// Receives what there is, for at most `wait`, and connects those subscribers again whose connection ended.
    fn poll(&mut self, wait: Duration) -> Result<(), Failure> {
        let Self {
            fleet,
            tally,
            crowd,
            positions,
            blinks,
            sips,
            started,
            last_delivery,
            options,
            ..
        } = self;
        let protocol = options.target.protocol;
        let before = tally.deliveries;
        let mut hear = |seat: usize, heard: FleetEvent<'_>| match heard {
            FleetEvent::Opened => {
                // Subscribers that blink connect again and again: that says nothing of how fast the server accepts.
                crowd.handshakes += u64::from(blinks.is_none());
                crowd.returned += u64::from(crowd.pasts[seat].was_away);
            }
            FleetEvent::Text(head, bytes) => {
                let now = started.elapsed().as_nanos() as u64;
                let id = positions.as_ref().and_then(|_| speech::id(protocol, head));
                if tally.receive(seat, head, bytes, now) {
                    if let (Some(positions), Some(id)) = (positions.as_mut(), id) {
                        positions.note_event(seat, id);
                    }
                    return;
                }
                let meaning = speech::meaning(protocol, head);
                if let Some(positions) = positions.as_mut() {
                    positions.note(seat, &meaning, id);
                }
                if blinks.is_some() && meaning == HeadMeaning::Ready {
                    tally.note_return(seat, now);
                }
                crowd.note(seat, meaning);
            }
            FleetEvent::Ended(status) => {
                if (protocol, status) == (Protocol::Sse, Some(403)) {
                    crowd.denial.get_or_insert((seat, None));
                }
                match status {
                    Some(status) => *crowd.refused.entry(status).or_default() += 1,
                    None => {
                        crowd.ended += 1;
                        crowd.slow_ended += u64::from(seat < options.slow);
                    }
                }
                // A subscriber that blinks is expected to miss nothing, whoever has ended the connection.
                if crowd.note_end(seat) && blinks.is_none() {
                    crowd.missed += tally.leave(seat);
                }
                crowd
                    .to_redial
                    .push_back((started.elapsed() + options.reconnect, seat));
            }
        };
        fleet
            .poll(Some(wait.min(LOOK)), &mut hear)
            .map_err(runtime("wait for the sockets"))?;
        if let Some(bytes) = sips.as_mut().and_then(|sips| sips.due(started.elapsed())) {
            fleet.sip(bytes, &mut hear);
        }
        if tally.deliveries > before {
            *last_delivery = started.elapsed();
        }
        let now = self.now();
        while let Some(&(due, seat)) = self.crowd.to_redial.front()
            && due <= now
        {
            self.crowd.to_redial.pop_front();
            self.redial(seat)?;
        }
        self.blink(now)
    }

    /// Connects a subscriber again, with its position if it has one.
    fn redial(&mut self, seat: usize) -> Result<(), Failure> {
        let positions = self.positions.as_mut();
        let since = positions.and_then(|positions| positions.come_back(seat));
        let dialled = self.fleet.redial_since(seat, since);
        dialled.map_err(runtime("connect"))
    }

    /// Lets subscribers vanish and come back whose time it is.
    fn blink(&mut self, now: Duration) -> Result<(), Failure> {
        let Some(blinks) = &mut self.blinks else {
            return Ok(());
        };
        while let Some(seat) = blinks.next_to_vanish(now) {
            if self.fleet.is_open(seat) {
                self.fleet.hang_up(seat);
                blinks.vanished(seat, now);
            }
        }
        let back: Vec<usize> = std::iter::from_fn(|| blinks.next_to_return(now)).collect();
        back.into_iter().try_for_each(|seat| self.redial(seat))
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let asked = self.options.connections;
        self.show("connecting", asked as u64);
        let mut last_progress = self.now();
        let mut settled = 0;
        while settled < asked && !self.stops() {
            let now = self.now();
            let allowed = match self.options.connect_rate {
                0 => asked,
                rate => (now.as_secs_f64() * rate as f64) as usize + 1,
            };
            while self.fleet.len() < asked.min(allowed)
                && self.fleet.len() < settled + HANDSHAKES_MAX
            {
                self.fleet.add().map_err(|error| {
                    Failure::Runtime(format!(
                        "cannot open connection {}: {error} (ulimit -n bounds the connections of one \
                         process; several can run side by side)",
                        self.fleet.len() + 1
                    ))
                })?;
            }
            self.poll(Duration::from_millis(5))?;
            let before = settled;
            settled = self.crowd.settled;
            if settled > before {
                last_progress = self.now();
                self.progress.set_position(settled as u64);
            }
            if let Some((seat, reason)) = &self.crowd.denial {
                let text = denied(self.options, *seat, reason.as_deref());
                return Err(Failure::Runtime(text));
            }
            if self.now() > last_progress + PATIENCE {
                return Err(Failure::Runtime(format!(
                    "after {settled} of {asked} connections no further one was accepted for {} s",
                    PATIENCE.as_secs()
                )));
            }
            if self.crowd.welcome == 0 && settled >= asked.min(HANDSHAKES_MAX) {
                break;
            }
        }
        self.handshake_time = self.now();
        self.usage[1] = self.options.pid.and_then(process::usage);
        self.own_resident[1] = own_resident();
        if self.crowd.welcome == 0 && !self.stops() {
            let target = &self.options.target;
            let status = self.crowd.refused.keys().next().copied().unwrap_or(0);
            return Err(Failure::Runtime(match &self.crowd.farewell {
                Some(reason) => format!("{target} ended all sessions: {reason}"),
                None if status == 0 && target.protocol != Protocol::Sse => {
                    format!("no connection was accepted by {target}")
                }
                None => refusal(self.options, status),
            }));
        }
        Ok(())
    }

    /// Publishes probes until every subscriber has received one.
    fn probe(&mut self) -> Result<(), Failure> {
        self.show("subscribing", self.options.connections as u64);
        let began = self.now();
        let mut next = began;
        while self.tally.unprobed() > 0 && !self.stops() {
            let now = self.now();
            if now >= next {
                next = now + PROBE_INTERVAL;
                for topic in &self.options.topics {
                    let data = self.tally.probe(now.as_nanos() as u64);
                    // A full queue means that no server takes the probes; that shows below.
                    let _ = self.publisher.try_send(&envelope(topic, data.as_bytes()));
                }
            }
            self.poll(next.saturating_sub(now))?;
            let heard = self.options.connections - self.tally.unprobed();
            self.progress.set_position(heard as u64);
            if self.now() > began + PATIENCE {
                return Err(Failure::Runtime(unheard(
                    self.tally.unprobed(),
                    self.options,
                )));
            }
        }
        let stalled = self.options.stalled.min(self.options.connections);
        for seat in 0..stalled {
            self.fleet.stall(seat);
            self.tally.exclude(seat);
        }
        self.tally.begin();
        // Probes that are still on their way do not belong to the test.
        let quiet = self.now() + Duration::from_millis(100);
        while self.now() < quiet && !self.stops() {
            self.poll(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Failure> {
        let options = self.options;
        self.show(
            "publishing",
            options.events.unwrap_or(options.duration.as_secs()),
        );
        self.usage[1] = self.options.pid.and_then(process::usage);
        self.publish_from = self.now();
        self.last_delivery = self.publish_from;
        self.blinks = options
            .blink
            .map(|rhythm| Blinks::begin(rhythm, options.readers(), self.publish_from));
        if options.slow > 0 {
            self.fleet.begin_sipping();
            self.sips = Some(Sips::begin(options.slow_rate, self.publish_from));
        }
        let mut last_progress = (self.publish_from, 0);
        loop {
            let now = self.now();
            let elapsed = now - self.publish_from;
            let published = self.tally.published;
            let is_over = match options.events {
                Some(events) => published >= events,
                None => elapsed >= options.duration,
            };
            if is_over || self.stops() {
                return Ok(());
            }
            let owed = match options.rate {
                0.0 => u64::from(options.in_flight).saturating_sub(self.tally.outstanding()),
                rate => ((elapsed.as_secs_f64() * rate) as u64 + 1).saturating_sub(published),
            };
            let left = options.events.map_or(u64::MAX, |events| events - published);
            for n in 0..owed.min(left) {
                if !self.publish_one((published + n) as usize) {
                    break;
                }
            }
            let wait = match options.rate {
                0.0 => LOOK,
                rate => Duration::from_secs_f64(1.0 / rate),
            };
            self.poll(wait)?;
            self.progress
                .set_position(options.events.map_or(elapsed.as_secs(), |_| published));
            // Lost deliveries must not make a test wait for ever.
            let complete = self.tally.complete;
            if complete > last_progress.1 || options.rate > 0.0 {
                last_progress = (now, complete);
            } else if now > last_progress.0 + PATIENCE {
                return Ok(());
            }
        }
    }

    /// Returns false when the publisher's queue is full.
    fn publish_one(&mut self, n: usize) -> bool {
        let topic = n % self.options.topics.len();
        if !self.publisher.has_room() {
            return false;
        }
        let at = self.now().as_nanos() as u64;
        let data = self.tally.publish(topic, at, self.options.bytes);
        let event = envelope(&self.options.topics[topic], data.as_bytes());
        self.publisher.try_send(&event)
    }

    fn drain(&mut self) -> Result<(), Failure> {
        self.show("draining", self.tally.published);
        if let Some(blinks) = &mut self.blinks {
            blinks.stop();
        }
        while self.has_absent() || (self.is_waiting() && self.now() < self.last_progress() + DRAIN)
        {
            self.progress.set_position(self.tally.complete);
            self.poll(LOOK)?;
        }
        self.usage[2] = self.options.pid.and_then(process::usage);
        self.progress.finish_and_clear();
        Ok(())
    }

    /// Returns true while a subscriber is away that will come back, unless the user does not wait for it.
    fn has_absent(&self) -> bool {
        let has_absent = self.blinks.as_ref().is_some_and(Blinks::has_absent);
        has_absent && !self.stops()
    }

    /// Returns true while events, or the server's words about them, may be on their way.
    fn is_waiting(&self) -> bool {
        let asking = self.positions.as_ref().map(|positions| positions.asking);
        self.tally.outstanding() > 0 || asking.is_some_and(|asking| asking > 0)
    }

    fn last_progress(&self) -> Duration {
        let last_return = self.blinks.as_ref().map(|blinks| blinks.last_return);
        let last = self.last_delivery.max(self.publish_from);
        last.max(last_return.unwrap_or_default())
    }

    fn report(self) -> LoadReport {
        let is_blinking = self.blinks.is_some();
        let losses = self
            .tally
            .losses(|seat| self.crowd.pasts[seat].was_away && !is_blinking);
        let positions = self.positions.unwrap_or_else(|| Positions::new(0, 0));
        let blink = self.blinks.map(|blinks| BlinkReport {
            blinks: blinks.count,
            recoveries: positions.recoveries,
            replayed: self.tally.replayed,
            expected: self.tally.expected(self.options.readers()),
            gaps: positions.gaps,
        });
        let slow = (self.options.slow > 0).then(|| SlowReport {
            readers: self.options.slow,
            rate: self.options.slow_rate,
            deliveries: self.tally.slow_deliveries,
            expected: self.tally.expected(0..self.options.slow),
            ended: self.crowd.slow_ended,
            gaps: positions.slow_gaps,
        });
        let server = match self.usage {
            [Some(start), Some(connected), Some(end)] => Some(ServerReport {
                cpu_per_handshake: per(connected.cpu - start.cpu, self.crowd.handshakes),
                cpu_per_delivery: per(end.cpu - connected.cpu, self.tally.deliveries),
                resident: end.resident,
                resident_per_connection: (connected.resident as f64 - start.resident as f64)
                    / self.crowd.welcome.max(1) as f64,
            }),
            _ => None,
        };
        let own_bytes_per_connection = match self.own_resident {
            [Some(start), Some(connected)] => {
                Some(connected.saturating_sub(start) as f64 / self.fleet.len().max(1) as f64)
            }
            _ => None,
        };
        LoadReport {
            protocol: self.options.target.protocol.name(),
            connections: self.options.connections,
            reads: !self.options.readers().is_empty(),
            handshakes: self.crowd.handshakes,
            handshake_seconds: self.handshake_time.as_secs_f64(),
            refused: self.crowd.refused.into_iter().collect(),
            ended: self.crowd.ended,
            returned: self.crowd.returned,
            published: self.tally.published,
            seconds: (self.last_delivery - self.publish_from).as_secs_f64(),
            deliveries: self.tally.deliveries,
            bytes: self.tally.bytes,
            losses,
            missed: self.crowd.missed,
            doubles: self.tally.doubles,
            disorder: self.tally.disorder,
            strangers: self.crowd.strangers,
            to_each: self.tally.to_each,
            to_last: self.tally.to_last,
            blink,
            slow,
            server,
            own_bytes_per_connection,
            is_interrupted: self.is_interrupted.load(Ordering::Relaxed),
        }
    }
}

fn per(total: u64, count: u64) -> f64 {
    total as f64 / count.max(1) as f64
}

fn own_resident() -> Option<u64> {
    process::usage(std::process::id()).map(|usage| usage.resident)
}
