//! What one connection to a NATS server has subscribed to: one subscription for each topic that is asked for, or one for
//! everything.
//!
//! **Topics that come and go.** A subscription ends some seconds after its topic is asked for no more. A page that is
//! loaded again leaves its topic for a moment only.
//!
//! **From topics to everything, and back.** Meanwhile both kinds of subscriptions are there, and the server sends each
//! message twice: once for each. Only those of one kind are taken. newswire changes to the other kind when the server has
//! answered a PING that was sent behind the new subscriptions, and ends the old ones afterwards. So no event is taken
//! twice and none is missed, but for one whose two copies come before and behind that answer.
//!
//! **A server that refuses everything.** It says so before that answer. The topics' subscriptions stay then, and have time
//! until they are asked for again.
//!
//! Never here: sockets, clocks (moments are handed in), and which topics are wanted.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::limits;
use crate::wire::nats;

const LINGER: Duration = Duration::from_secs(limits::NATS_LINGER_SECONDS);

/// The number of a subscription.
type Sid = u64;

/// What a PING was sent for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fence {
    /// To see that the server is there.
    Alive,
    /// From its answer on, everything is taken by this subscription.
    Everything(Sid),
    /// From its answer on, topics are taken, and this subscription ends.
    Topics(Sid),
}

/// A topic's subscription.
#[derive(Debug)]
struct TopicSubscription {
    sid: Sid,
    /// When it ends; `None` while the topic is asked for.
    ends: Option<Duration>,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub(super) struct NatsTopics {
    prefix: String,
    topics: HashMap<Box<str>, TopicSubscription>,
    /// Topics that were asked for no more, in the order of their moments. Some may be asked for again.
    leaving: VecDeque<(Duration, Box<str>)>,
    last: Sid,
    /// Subscriptions to everything that have not ended.
    everything: Vec<Sid>,
    /// The one of them whose messages are taken; `None`: those of the topics are.
    taken: Option<Sid>,
    /// What the answers that are due are for, in their order.
    fences: VecDeque<Fence>,
}

/// What a server has refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NatsRefusal {
    /// The subscription to everything.
    Everything,
    /// A topic's subscription.
    Topic,
}

/// A topic that no subject can carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotCarried;

impl NatsTopics {
    /// Nothing yet. Subjects begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            topics: HashMap::new(),
            leaving: VecDeque::new(),
            last: 0,
            everything: Vec::new(),
            taken: None,
            fences: VecDeque::new(),
        }
    }

    /// What subjects begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Asks for `topic`, or no more. The empty topic is everything.
    ///
    /// # Errors
    /// No subject can carry the topic.
    pub fn ask(
        &mut self,
        topic: &str,
        is_wanted: bool,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<(), NotCarried> {
        match (topic, is_wanted) {
            ("", true) => {
                let sid = self.next();
                nats::subscribe(&format!("{}>", self.prefix), sid, out);
                self.everything.push(sid);
                self.ping(Fence::Everything(sid), out);
            }
            ("", false) => {
                if let Some(&sid) = self.everything.last() {
                    self.ping(Fence::Topics(sid), out);
                }
            }
            (topic, true) => {
                let subject = nats::subject(&self.prefix, topic).ok_or(NotCarried)?;
                if let Some(subscription) = self.topics.get_mut(topic) {
                    subscription.ends = None;
                    return Ok(());
                }
                let sid = self.next();
                nats::subscribe(&subject, sid, out);
                self.topics
                    .insert(topic.into(), TopicSubscription { sid, ends: None });
            }
            (topic, false) => {
                if let Some(subscription) = self.topics.get_mut(topic) {
                    let ends = now + LINGER;
                    subscription.ends = Some(ends);
                    self.leaving.push_back((ends, topic.into()));
                }
            }
        }
        Ok(())
    }

    /// Asks whether the server is there. Returns false when it has left too many such questions unanswered.
    pub fn ask_alive(&mut self, out: &mut Vec<u8>) -> bool {
        let unanswered = self.fences.iter().filter(|&&fence| fence == Fence::Alive);
        let is_alive = unanswered.count() < limits::NATS_PINGS_UNANSWERED_MAX;
        self.ping(Fence::Alive, out);
        is_alive
    }

    /// The server has answered a PING.
    pub fn handle_pong(&mut self, out: &mut Vec<u8>) {
        match self.fences.pop_front() {
            // A subscription that was refused is not there any more.
            Some(Fence::Everything(sid)) if self.everything.contains(&sid) => {
                self.taken = Some(sid);
            }
            Some(Fence::Topics(sid)) if self.everything.contains(&sid) => {
                self.forget(sid);
                nats::unsubscribe(sid, out);
            }
            Some(_) | None => {}
        }
    }

    /// The server has refused a subscription, in these words.
    pub fn handle_refusal(&mut self, text: &str, now: Duration) -> NatsRefusal {
        let fenced = match self.fences.front() {
            Some(&Fence::Everything(sid)) => Some(sid),
            _ => None,
        };
        let is_everything = match nats::refused_subject(text) {
            Some(subject) => subject.strip_prefix(&*self.prefix) == Some(">"),
            // Its answers come in the order of the questions.
            None => fenced.is_some(),
        };
        if !is_everything {
            return NatsRefusal::Topic;
        }
        match fenced {
            Some(sid) => self.forget(sid),
            // The server takes back what it had granted.
            None => (self.everything, self.taken) = (Vec::new(), None),
        }
        let later = now + LINGER;
        for (ends, topic) in &mut self.leaving {
            if let Some(subscription) = self.topics.get_mut(topic)
                && subscription.ends == Some(*ends)
            {
                subscription.ends = Some(later);
            }
            *ends = later;
        }
        NatsRefusal::Everything
    }

    /// A subscription to everything is over.
    fn forget(&mut self, sid: Sid) {
        self.everything.retain(|&other| other != sid);
        self.taken = self.taken.filter(|&taken| taken != sid);
    }

    /// When [`NatsTopics::handle_time`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let (ends, _) = self.leaving.front()?;
        // What is still taken does not end.
        self.is_settled().then_some(*ends)
    }

    /// Ends subscriptions that are due.
    pub fn handle_time(&mut self, now: Duration, out: &mut Vec<u8>) {
        while self.deadline().is_some_and(|ends| ends <= now) {
            let Some((ends, topic)) = self.leaving.pop_front() else {
                return;
            };
            let is_due = |subscription: &TopicSubscription| subscription.ends == Some(ends);
            if self.topics.get(&topic).is_some_and(is_due)
                && let Some(subscription) = self.topics.remove(&topic)
            {
                nats::unsubscribe(subscription.sid, out);
            }
        }
    }

    /// Returns true when a message of the subscription `sid` is to be taken.
    pub fn takes(&self, sid: Sid) -> bool {
        match self.taken {
            Some(taken) => sid == taken,
            None => !self.everything.contains(&sid),
        }
    }

    /// The topic of a subject; `None` for a subject that was not asked for.
    pub fn topic<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(&*self.prefix)
    }

    /// Returns true when newswire takes all that it will take.
    fn is_settled(&self) -> bool {
        self.fences.iter().all(|&fence| fence == Fence::Alive)
    }

    fn next(&mut self) -> Sid {
        self.last += 1;
        self.last
    }

    fn ping(&mut self, fence: Fence, out: &mut Vec<u8>) {
        out.extend_from_slice(nats::PING);
        self.fences.push_back(fence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    /// What was written since the last call.
    fn told(out: &mut Vec<u8>) -> String {
        let text = String::from_utf8(std::mem::take(out)).expect("text");
        text.replace("\r\n", ";")
    }

    #[test]
    fn a_topic_that_comes_back_keeps_its_subscription() {
        let (mut topics, mut out) = (NatsTopics::new("news."), Vec::new());
        topics.ask("a", true, ZERO, &mut out).expect("good");
        topics.ask("b", true, ZERO, &mut out).expect("good");
        assert_eq!(told(&mut out), "SUB news.a 1;SUB news.b 2;");
        topics.ask("a", false, ZERO, &mut out).expect("good");
        topics.ask("a", true, ZERO, &mut out).expect("good");
        topics.ask("b", false, ZERO, &mut out).expect("good");
        topics.handle_time(LINGER - Duration::from_millis(1), &mut out);
        assert_eq!(told(&mut out), "");
        assert_eq!(topics.deadline(), Some(LINGER));
        topics.handle_time(LINGER, &mut out);
        assert_eq!(told(&mut out), "UNSUB 2;");
        assert_eq!((topics.deadline(), topics.topics.len()), (None, 1));

        // It leaves twice within the time: the second time counts.
        topics.ask("a", false, LINGER, &mut out).expect("good");
        topics.ask("a", true, LINGER, &mut out).expect("good");
        topics.ask("a", false, 2 * LINGER, &mut out).expect("good");
        topics.handle_time(2 * LINGER, &mut out);
        assert_eq!(told(&mut out), "");
        topics.handle_time(3 * LINGER, &mut out);
        assert_eq!(told(&mut out), "UNSUB 1;");
    }

    #[test]
    fn each_message_is_taken_once_on_the_way_to_everything_and_back() {
        let (mut topics, mut out) = (NatsTopics::new("news."), Vec::new());
        topics.ask("a", true, ZERO, &mut out).expect("good");
        topics.ask("", true, ZERO, &mut out).expect("good");
        topics.ask("a", false, ZERO, &mut out).expect("good");
        assert_eq!(told(&mut out), "SUB news.a 1;SUB news.> 2;PING;");
        assert!(topics.takes(1) && !topics.takes(2));
        topics.handle_time(LINGER, &mut out);
        assert_eq!(told(&mut out), "", "what is taken does not end");
        topics.handle_pong(&mut out);
        assert!(!topics.takes(1) && topics.takes(2));
        topics.handle_time(LINGER, &mut out);
        assert_eq!(told(&mut out), "UNSUB 1;");

        topics.ask("a", true, LINGER, &mut out).expect("good");
        topics.ask("", false, LINGER, &mut out).expect("good");
        assert_eq!(told(&mut out), "SUB news.a 3;PING;");
        assert!(!topics.takes(3) && topics.takes(2));
        // Everything again, before the server has answered.
        topics.ask("", true, LINGER, &mut out).expect("good");
        assert_eq!(told(&mut out), "SUB news.> 4;PING;");
        topics.handle_pong(&mut out);
        assert_eq!(told(&mut out), "UNSUB 2;");
        assert!(topics.takes(3) && !topics.takes(4));
        topics.handle_pong(&mut out);
        assert!(!topics.takes(3) && topics.takes(4));
        assert_eq!(told(&mut out), "");
    }

    #[test]
    fn a_server_that_refuses_everything_goes_on_with_topics() {
        let violation = "Permissions Violation for Subscription to \"news.>\"";
        for text in [violation, "maximum subscriptions exceeded"] {
            let (mut topics, mut out) = (NatsTopics::new("news."), Vec::new());
            topics.ask("a", true, ZERO, &mut out).expect("good");
            topics.ask("b", true, ZERO, &mut out).expect("good");
            topics.ask("", true, ZERO, &mut out).expect("good");
            topics.ask("a", false, ZERO, &mut out).expect("good");
            topics.ask("b", false, ZERO, &mut out).expect("good");
            assert_eq!(topics.handle_refusal(text, LINGER), NatsRefusal::Everything);
            topics.handle_pong(&mut out);
            assert!(topics.takes(1) && topics.takes(2), "{text}");
            told(&mut out);
            topics.handle_time(LINGER, &mut out);
            assert_eq!(told(&mut out), "", "there is time to ask again");
            topics.ask("a", true, LINGER, &mut out).expect("good");
            topics.ask("", false, LINGER, &mut out).expect("good");
            topics.handle_time(2 * LINGER, &mut out);
            assert_eq!(told(&mut out), "UNSUB 2;", "{text}");
            assert_eq!(
                topics.handle_refusal("maximum subscriptions exceeded", ZERO),
                NatsRefusal::Topic
            );
        }
    }

    #[test]
    fn a_refused_topic_leaves_everything_as_it_is() {
        let (mut topics, mut out) = (NatsTopics::new("news."), Vec::new());
        topics.ask("a", true, ZERO, &mut out).expect("good");
        topics.ask("", true, ZERO, &mut out).expect("good");
        let violation =
            |subject| format!("Permissions Violation for Subscription to \"{subject}\"");
        for subject in ["news.a", ">", "other.>"] {
            let refused = topics.handle_refusal(&violation(subject), ZERO);
            assert_eq!(refused, NatsRefusal::Topic, "{subject}");
        }
        topics.handle_pong(&mut out);
        assert!(topics.takes(2));
        // The server takes a permission back.
        let refused = topics.handle_refusal(&violation("news.>"), ZERO);
        assert_eq!(refused, NatsRefusal::Everything);
        assert!(topics.takes(1) && topics.taken.is_none());
    }

    #[test]
    fn a_topic_that_no_subject_carries_is_told() {
        let (mut topics, mut out) = (NatsTopics::new(""), Vec::new());
        assert_eq!(topics.ask("a b", true, ZERO, &mut out), Err(NotCarried));
        assert_eq!(topics.ask("a b", false, ZERO, &mut out), Ok(()));
        assert!(out.is_empty() && topics.leaving.is_empty());
        topics.ask("", true, ZERO, &mut out).expect("good");
        assert_eq!(told(&mut out), "SUB > 1;PING;");
        assert_eq!(NatsTopics::new("a.").topic("a.b.c"), Some("b.c"));
        assert_eq!(NatsTopics::new("a.").topic("b.c"), None);
    }

    #[test]
    fn a_server_that_leaves_questions_unanswered_is_gone() {
        let (mut topics, mut out) = (NatsTopics::new(""), Vec::new());
        for _ in 0..limits::NATS_PINGS_UNANSWERED_MAX {
            assert!(topics.ask_alive(&mut out));
        }
        assert!(!topics.ask_alive(&mut out));
        topics.handle_pong(&mut out);
        topics.handle_pong(&mut out);
        assert!(topics.ask_alive(&mut out));
    }
}
