//! What is kept of topics, and what happens to those who read them too slowly.
//!
//! Never here: whether the rules fit each other (that is `topic_rules`), and how long a topic's name may be (that is
//! `clients`).

use super::super::types::WhenNone;
use super::list;
use crate::limits;
use crate::wire::topic_rule::TopicRule;

group! {
    /// What is kept of topics, and what happens to those who read them too slowly.
    TopicOptions at topics, "Topics: history and slow readers" {
        /// Rule for topics: a pattern, then words in any order, such as `news* history=100 age=3600 last`. The pattern
        /// is the name of a topic, or the beginning of names followed by `*`. Put a name with blanks in quotes, as in
        /// JSON: `"my topic*" last`; in the variable, write a comma in such quotes as `\u002c`. The first rule that
        /// matches a topic counts. `history=COUNT` keeps up to COUNT events of each topic for clients that come back or ask
        /// for them, and `age=SECONDS` keeps none that is older. `last` sends the newest event to each new subscriber.
        /// When a client reads too slowly, `slow=close`, the default, closes its connection, so that the client notices
        /// that it has missed events; `slow=oldest` drops the oldest events that wait for it; `slow=latest` keeps only
        /// the newest event of the topic for it. A pattern alone makes an exception from the rules behind it. Without a
        /// rule newswire keeps nothing, because kept events need memory. They end with the process.
        #[option("topic", "RULE")]
        rules: Vec<TopicRule> = list(TopicRule::parse, TopicRule::to_string, WhenNone::Empty, &[]),

        /// What the kept events of all topics together may take, with their topics' names. Over it, newswire forgets
        /// the oldest events first. It has to hold the largest event, and counts only when a rule of `topic` keeps
        /// events. The default is enough for some 60,000 events of 1 kB. Each worker has a history of that size.
        #[option("history-bytes-max", "BYTES")]
        history_bytes_max: usize = number!(
            Bytes, limits::HISTORY_BYTES_MAX, 4096, limits::OUTBOXES_BYTES_CEILING
        ),
    }
}

impl TopicOptions {
    /// Returns true when a rule keeps events.
    pub fn keeps_events(&self) -> bool {
        self.rules.iter().any(TopicRule::keeps)
    }
}
