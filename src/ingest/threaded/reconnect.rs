//! Runs a client for as long as its source is there: it connects again by itself, with a pause that grows.
//!
//! Never here: what is said to a broker, and what it sends.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Client;
use super::outlet::{Outlet, ThreadShared};
use crate::limits;

const REPORT: Duration = Duration::from_secs(limits::REPORT_SECONDS);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(limits::BROKER_PAUSE_SECONDS_MAX);
/// A connection that has lasted so long was a good one: the next pause is short again.
const LASTING: Duration = Duration::from_secs(limits::BROKER_LASTING_SECONDS);

/// Runs `client` until the source is gone.
pub(super) async fn run(mut client: impl Client, outlet: Outlet) {
    let mut pause = PAUSE_MIN;
    let (mut reported, mut last): (Option<Instant>, String) = (None, String::new());
    let mut lost_before = 0;
    for session in 1.. {
        let began = Instant::now();
        let trouble = survive(client.serve(&outlet, session)).await;
        if outlet.is_over() {
            return;
        }
        let (was_connected, queues_lost) = {
            let link = &outlet.0.state().link;
            (link.is_connected, link.queues_lost)
        };
        let is_kept = client.is_durable() && queues_lost == lost_before;
        lost_before = queues_lost;
        outlet.lost(&trouble, client.is_durable());
        if was_connected && began.elapsed() >= LASTING {
            pause = PAUSE_MIN;
        }
        let ThreadShared { kind, name, .. } = &*outlet.0;
        let is_due = reported.is_none_or(|at| at.elapsed() >= REPORT);
        if was_connected || trouble != last && is_due {
            let missed = match is_kept {
                true => "the broker keeps the events",
                false => "events that are published meanwhile are missed",
            };
            log::warn!(
                "{}: broker={name} is not connected: {trouble}. newswire tries again; {missed}",
                kind.name()
            );
            reported = Some(Instant::now());
            last = trouble;
        }
        let deadline = Instant::now() + with_jitter(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        while !outlet.is_over() && Instant::now() < deadline {
            tokio::select! {
                () = sleep(deadline.saturating_duration_since(Instant::now())) => {}
                () = outlet.changed() => {}
            }
        }
        if outlet.is_over() {
            return;
        }
    }
}

/// What `serving` comes to. A panic of the client's library is a trouble like any other: the next connection may do
/// better.
async fn survive(serving: impl Future<Output = String>) -> String {
    let mut serving = pin!(serving);
    let survived = poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context)));
        let panicked = |_| Poll::Ready("its client panicked; standard error says where".to_owned());
        polled.unwrap_or_else(panicked)
    });
    survived.await
}

/// `pause`, or up to a quarter less, so that many servers do not come back at the same moment.
fn with_jitter(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without a random number there is no jitter.
    let _ = getrandom::fill(&mut random);
    pause - pause * u32::from(random[0]) / (4 * 256)
}
