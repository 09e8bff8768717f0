//! What an operator asks when a client gets nothing: who was refused, from where and why, and which
//! topics were denied to which token, or withdrawn from it.
//!
//! The engine notes an incident here, and the report takes each kind out when it writes the line about it.
//! Strangers can cause any number of incidents, so only some addresses for each reason and some topics are
//! kept. The counters have all of them.
//!
//! Never here: tokens, counters, log lines.

use std::net::IpAddr;

use crate::limits;
use crate::standing::Standing;
use crate::stats::{Cause, Refusal};

/// An address whose upgrades were refused for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedAddress {
    /// The client's address, or the proxy's when no request came that could be read.
    pub address: IpAddr,
    /// In upgrades.
    pub count: u64,
    /// How many of them for each cause, in the order of [`Cause::ALL`]. All are zero where the reason was
    /// not the token.
    pub causes: [u64; Cause::ALL.len()],
}

/// A topic, and a token whose subscriptions to it were denied or withdrawn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicOfToken {
    /// Its name, or the beginning of a long one.
    pub topic: String,
    /// The token's name.
    pub name: String,
    /// In SUBSCRIBEs, or in subscriptions.
    pub count: u64,
}

/// What has happened since the last line about its kind.
#[derive(Debug, Default)]
pub struct Incidents {
    /// In the order of [`Refusal::ALL`]; each has at most `limits::REPORT_ADDRESSES_MAX`.
    refused: [Vec<RefusedAddress>; Refusal::ALL.len()],
    /// At most `limits::REPORT_TOPICS_MAX`.
    denied: Vec<TopicOfToken>,
    /// At most `limits::REPORT_TOPICS_MAX`.
    withdrawn: Vec<TopicOfToken>,
}

impl Incidents {
    /// An upgrade from `address` was refused; for its token because of `cause`.
    pub fn refused(&mut self, address: IpAddr, refusal: Refusal, cause: Option<Cause>) {
        let all = &mut self.refused[refusal as usize];
        let index = all.iter().position(|known| known.address == address);
        let known = match index {
            Some(index) => &mut all[index],
            None if all.len() < limits::REPORT_ADDRESSES_MAX => {
                all.push(RefusedAddress {
                    address,
                    count: 0,
                    causes: [0; Cause::ALL.len()],
                });
                let last = all.len() - 1;
                &mut all[last]
            }
            None => return,
        };
        known.count += 1;
        if let Some(cause) = cause {
            known.causes[cause as usize] += 1;
        }
    }

    /// A SUBSCRIBE of `topic` was ignored, because the token of `standing` does not allow it.
    pub fn denied(&mut self, topic: &str, standing: &Standing) {
        note(&mut self.denied, topic, standing);
    }

    /// A subscription to `topic` was ended, because the token of `standing` no longer allows it.
    pub fn withdrawn(&mut self, topic: &str, standing: &Standing) {
        note(&mut self.withdrawn, topic, standing);
    }

    /// Takes out the addresses that were refused for `refusal`, as far as they were kept.
    pub fn take_refused_addresses(&mut self, refusal: Refusal) -> Vec<RefusedAddress> {
        std::mem::take(&mut self.refused[refusal as usize])
    }

    /// Takes out the topics that were denied, as far as they were kept.
    pub fn take_denied_topics(&mut self) -> Vec<TopicOfToken> {
        std::mem::take(&mut self.denied)
    }

    /// Takes out the topics that were withdrawn, as far as they were kept.
    pub fn take_withdrawn_topics(&mut self) -> Vec<TopicOfToken> {
        std::mem::take(&mut self.withdrawn)
    }
}

/// Counts one more of `topic` and the token of `standing`.
fn note(all: &mut Vec<TopicOfToken>, topic: &str, standing: &Standing) {
    let topic = beginning(topic);
    let known = all
        .iter_mut()
        .find(|known| known.topic == topic && standing.is_named(&known.name));
    if let Some(known) = known {
        known.count += 1;
    } else if all.len() < limits::REPORT_TOPICS_MAX {
        all.push(TopicOfToken {
            topic: topic.to_owned(),
            name: standing.name(),
            count: 1,
        });
    }
}

/// As much of a topic's name as is kept.
fn beginning(topic: &str) -> &str {
    let max = topic.len().min(limits::SAMPLE_BYTES_MAX);
    let end = (0..=max).rfind(|&end| topic.is_char_boundary(end));
    &topic[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::grant::Grant;

    fn address(n: usize) -> IpAddr {
        Ipv4Addr::from(n as u32).into()
    }

    #[test]
    fn an_address_is_told_with_its_causes() {
        let mut incidents = Incidents::default();
        for cause in [Cause::Expired, Cause::Unknown, Cause::Expired] {
            incidents.refused(address(1), Refusal::Token, Some(cause));
        }
        incidents.refused(address(1), Refusal::Origin, None);
        let [told] = &*incidents.take_refused_addresses(Refusal::Token) else {
            panic!("{incidents:?}");
        };
        assert_eq!((told.address, told.count), (address(1), 3));
        assert_eq!(told.causes[Cause::Expired as usize], 2);
        assert_eq!(told.causes[Cause::Unknown as usize], 1);
        assert_eq!(
            incidents.take_refused_addresses(Refusal::Origin)[0].count,
            1
        );
    }

    #[test]
    fn strangers_fill_no_more_than_its_bound() {
        let mut incidents = Incidents::default();
        let standing = Standing::new(Grant::default());
        for n in 0..10_000 {
            incidents.refused(address(n), Refusal::Token, Some(Cause::Unknown));
            incidents.denied(&format!("{n}é{}", "é".repeat(1_000)), &standing);
        }
        let addresses = incidents.take_refused_addresses(Refusal::Token);
        assert_eq!(addresses.len(), limits::REPORT_ADDRESSES_MAX);
        let topics = incidents.take_denied_topics();
        assert_eq!(topics.len(), limits::REPORT_TOPICS_MAX);
        assert!(
            topics
                .iter()
                .all(|t| t.topic.len() <= limits::SAMPLE_BYTES_MAX)
        );
    }

    #[test]
    fn one_topic_of_two_tokens_is_two_incidents() {
        let mut incidents = Incidents::default();
        let named = |name: &str| {
            Standing::new(Grant {
                name: name.to_owned(),
                ..Grant::default()
            })
        };
        for name in ["ann", "bob", "ann"] {
            incidents.denied("t", &named(name));
        }
        let topics = incidents.take_denied_topics();
        let told: Vec<(&str, u64)> = (topics.iter())
            .map(|denied| (&*denied.name, denied.count))
            .collect();
        assert_eq!(told, [("ann", 2), ("bob", 1)]);
    }
}
