//! The bytes of one read, message by message: the session says what a message means, and it is done here.
//!
//! All answers to the bytes of one read leave in one write: a read can hold some hundred pings,
//! and a system call for each of them would take longer than the events of others may wait.
//!
//! Never here: which connection is read and how far (`reading`), how a connection ends (`ending`), what the
//! bytes mean (the session's).

use std::net::IpAddr;

use super::Engine;
use super::audiences::AudienceId;
use super::batch::Batch;
use super::connection::Connection;
use super::ending::Ending;
use super::link::{Sent, Stream};
use super::session::{Intent, Noted, Stage, SubscribeOutcome, SubscriptionName};
use super::slots::SlotId;
use super::subscribing;
use crate::limits;
use crate::standing::Applicant;
use crate::stats::Counter;

/// What is done for a client when nothing of its message is borrowed any more.
enum Next {
    Check(Applicant),
    Greet(IpAddr),
    Welcome,
}

impl<S: Stream> Engine<S> {
    /// The bytes of one read. Answers what it cost to understand them and to do what they say, as
    /// [`limits::TURN_READ_COST`] counts.
    pub(super) fn handle_bytes(&mut self, id: SlotId, bytes: &mut [u8]) -> usize {
        let Some(connection) = self.slots.get_mut(id) else {
            return 0;
        };
        let mut cost = match connection.session.stage() {
            Stage::Upgrading => limits::HEAD_COST,
            Stage::Checking | Stage::Greeting | Stage::Open | Stage::Closing => 0,
        };
        if connection.session.stage() == Stage::Open {
            connection.session.note_heard();
            self.arm(id, self.rules.ping_seconds);
        }
        let mut answers = Batch::default();
        let mut at = 0;
        while at < bytes.len() {
            let (taken, end) = self.step(id, &mut bytes[at..], &mut answers);
            at += taken;
            cost += limits::MESSAGE_COST + self.inflater.take_cost();
            let is_last = end.is_some() || at >= bytes.len();
            if is_last || answers.bytes().len() >= limits::ANSWER_BYTES_MAX {
                // The answers leave before whatever ends the connection; where they cannot, that ends it.
                if !answers.bytes().is_empty() {
                    cost += limits::ANSWER_COST;
                }
                let end = self.answer(id, std::mem::take(&mut answers)).or(end);
                if let Some(end) = end {
                    self.end(id, end);
                    return cost + limits::ANSWER_COST;
                }
            }
        }
        cost
    }

    fn answer(&mut self, id: SlotId, answers: Batch) -> Option<Ending> {
        if answers.bytes().is_empty() {
            return None;
        }
        let link = &mut self.slots.get_mut(id)?.link;
        let sent = link.answer(answers, &mut self.desk);
        self.gaps.note(id, &mut self.desk.lost);
        match sent {
            Sent::Fine => None,
            Sent::Failed(reason) => Some(Ending::Lost(reason)),
        }
    }

    /// Takes one message of a connection, and does what it asks for. Its answer is appended to `answers`.
    fn step(
        &mut self,
        id: SlotId,
        bytes: &mut [u8],
        answers: &mut Batch,
    ) -> (usize, Option<Ending>) {
        let Some(connection) = self.slots.get_mut(id) else {
            return (bytes.len(), None);
        };
        let Connection {
            link,
            session,
            audiences: own,
        } = connection;
        if session.stage() == Stage::Checking {
            session.keep(bytes);
            return (bytes.len(), None);
        }
        let Self {
            hub,
            desk,
            rules,
            incidents,
            inflater,
            replays,
            ..
        } = self;
        let (taken, intent) = session.step(bytes, inflater, link.peer().ip(), &rules.session);
        let Some(intent) = intent else {
            return (taken, None);
        };
        let mut end = None;
        let mut next = None;
        match intent {
            Intent::Check(applicant) => next = Some(Next::Check(*applicant)),
            Intent::Greet(client) => next = Some(Next::Greet(client)),
            Intent::Welcome => next = Some(Next::Welcome),
            Intent::Subscribe(request, topic, past) => {
                desk.stats.count(Counter::Messages);
                let mut notice = None;
                let subscriptions = own.len() + replays.topics(id);
                let outcome = if topic.len() > rules.topic_bytes_max {
                    SubscribeOutcome::TopicTooLong
                } else if subscriptions >= rules.subscriptions_max
                    && !subscribing::is_subscribed(
                        hub,
                        replays,
                        (id, own),
                        request.encoding,
                        &topic,
                    )
                {
                    SubscribeOutcome::TooMany
                } else {
                    let begun =
                        subscribing::begin(hub, replays, (id, own), request.encoding, &topic, past);
                    if begun.is_new {
                        desk.stats.count(Counter::Subscribes);
                    }
                    if let Some(notice) = &begun.notice {
                        subscribing::count_recovery(&desk.stats, past, notice);
                    }
                    notice = begun.notice.map(|notice| (begun.subscription, notice));
                    SubscribeOutcome::Subscribed(begun.subscription)
                };
                let answer = answers.push_answer(|out| request.subscribed(outcome, out));
                if let Some((subscription, notice)) = notice {
                    let encoding = request.encoding;
                    answers.push_answer(|out| encoding.recovery(subscription, notice, out));
                }
                end = answer.err().map(Ending::Failed);
            }
            Intent::Denied(request, topic, standing) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::SubscribesDenied);
                incidents.denied(&topic, standing);
                log::debug!("denied: peer={} topic={topic:?}", link.peer());
                let outcome = SubscribeOutcome::Denied;
                let answer = answers.push_answer(|out| request.subscribed(outcome, out));
                end = answer.err().map(Ending::Failed);
            }
            Intent::Unsubscribe(request, name) => {
                desk.stats.count(Counter::Messages);
                let member = id.index();
                let audience = match name {
                    SubscriptionName::Topic(topic) => hub
                        .topics()
                        .find(&topic)
                        .map(|topic| AudienceId::new(topic, request.encoding)),
                    SubscriptionName::Id(subscription) => {
                        hub.find_subscription(subscription, request.encoding)
                    }
                };
                let was_subscribed = audience.is_some_and(|audience| {
                    replays.cancel(id, audience.topic(), hub) || hub.leave(member, own, audience)
                });
                if was_subscribed {
                    desk.stats.count(Counter::Unsubscribes);
                }
                answers.push_answer(|out| request.unsubscribed(was_subscribed, out));
            }
            Intent::Noted(Noted::Prefix | Noted::Nothing) => desk.stats.count(Counter::Messages),
            Intent::Noted(Noted::Publish) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::ClientPublishes);
            }
            Intent::Noted(Noted::Pong) => {}
            Intent::Reply(frame, counter) => {
                desk.stats.count(Counter::Messages);
                if let Some(counter) = counter {
                    desk.stats.count(counter);
                }
                answers.push_frame(|out| out.extend_from_slice(&frame));
            }
            Intent::Pong(encoding, payload) => {
                desk.stats.count(Counter::PingsReceived);
                if link.outbox().is_empty() {
                    answers.push_frame(|out| encoding.pong(&payload, out));
                } else {
                    let mut frame = Vec::with_capacity(payload.len() + 2);
                    encoding.pong(&payload, &mut frame);
                    link.replace_pong(frame, desk);
                }
            }
            Intent::Refuse(refusal, client) => end = Some(Ending::Refused(refusal, client)),
            Intent::Serve(answer, counter) => {
                desk.stats.count(counter);
                end = Some(Ending::Served(answer));
            }
            Intent::PeerClosed(code) => end = Some(Ending::PeerClosed(code)),
            Intent::PeerLeft => end = Some(Ending::PeerLeft),
            Intent::Fail(breach) => end = Some(Ending::Failed(breach)),
        }
        session.settle();
        match next {
            None => {}
            Some(Next::Check(applicant)) => {
                let client = applicant.client;
                let refused = self.check(id, applicant).err();
                end = refused.map(|refusal| Ending::Refused(refusal, client));
            }
            Some(Next::Greet(client)) => {
                let refused = self.greet(id, client, answers).err();
                end = refused.map(|refusal| Ending::Refused(refusal, client));
            }
            Some(Next::Welcome) => end = self.welcome(id, answers),
        }
        (taken, end)
    }
}
