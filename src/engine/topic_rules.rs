//! The rules for topics: which one counts for a topic, and what each of them has dropped.
//!
//! Never here: how a rule is written (`wire/topic_rule`), and kept events.

use crate::limits;
use crate::wire::topic_rule::{SlowPolicy, TopicRule};

/// A rule by its place in the configuration; no rule, for most topics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RuleNumber(u16);

impl RuleNumber {
    /// No rule.
    pub const NONE: Self = Self(0);

    fn index(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

const _: () = assert!(limits::TOPIC_RULES_MAX < u16::MAX as usize);

/// A rule, and how often it has cost a slow client an event.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// The rule.
    pub rule: TopicRule,
    /// In events.
    pub dropped: u64,
}

/// All rules, the first one that matches being the one that counts.
#[derive(Debug, Default)]
pub struct TopicRules(Vec<RuleView>);

impl TopicRules {
    /// Puts these rules in the place of the present ones, and answers whether they are others. What a rule has dropped
    /// stays counted while its pattern is there.
    pub fn replace(&mut self, rules: &[TopicRule]) -> bool {
        if self.0.iter().map(|view| &view.rule).eq(rules) {
            return false;
        }
        let before = std::mem::take(&mut self.0);
        let dropped = |pattern: &str| {
            let mut same = before.iter().filter(|view| view.rule.pattern == *pattern);
            same.next().map_or(0, |view| view.dropped)
        };
        self.0 = rules
            .iter()
            .map(|rule| RuleView {
                dropped: dropped(&rule.pattern),
                rule: rule.clone(),
            })
            .collect();
        true
    }

    /// All of them.
    pub fn all(&self) -> &[RuleView] {
        &self.0
    }

    /// The rule that counts for a topic.
    pub fn find(&self, topic: &str) -> RuleNumber {
        let index = self.0.iter().position(|view| view.rule.matches(topic));
        index.map_or(RuleNumber::NONE, |index| RuleNumber(index as u16 + 1))
    }

    /// The rule with that number.
    pub fn get(&self, number: RuleNumber) -> Option<&TopicRule> {
        Some(&self.0.get(number.index()?)?.rule)
    }

    /// Returns true when events of topics with this rule are kept.
    pub fn keeps(&self, number: RuleNumber) -> bool {
        self.get(number).is_some_and(TopicRule::keeps)
    }

    /// What happens to slow readers of topics with this rule.
    pub fn slow(&self, number: RuleNumber) -> SlowPolicy {
        self.get(number).map_or(SlowPolicy::Close, |rule| rule.slow)
    }

    /// The names of single topics of which events are kept, because of the rule that names them.
    pub fn kept_names(&self) -> impl Iterator<Item = &str> {
        let named = (0..).zip(&self.0).filter(|(_, view)| view.rule.keeps());
        named.filter_map(|(index, view)| {
            let name = view.rule.exact_name()?;
            // An earlier rule may count for it.
            (self.find(name).index() == Some(index)).then_some(name)
        })
    }

    /// Returns true when events are kept of topics whose names are not known.
    pub fn keep_unknown_names(&self) -> bool {
        let mut all = self.0.iter();
        all.any(|view| view.rule.keeps() && view.rule.exact_name().is_none())
    }

    /// A slow client has lost events because of this rule.
    pub fn note_dropped(&mut self, number: RuleNumber, events: u64) {
        if let Some(view) = number.index().and_then(|index| self.0.get_mut(index)) {
            view.dropped += events;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[&str]) -> TopicRules {
        let parsed = lines.iter().map(|line| TopicRule::parse(line));
        let parsed: Vec<TopicRule> = parsed.collect::<Result<_, _>>().expect("rules");
        let mut rules = TopicRules::default();
        rules.replace(&parsed);
        rules
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = rules(&["a slow=latest", "a* history=3", "b last"]);
        let keeps = |topic| rules.keeps(rules.find(topic));
        assert!(!keeps("a") && keeps("ab") && keeps("b") && !keeps("c"));
        assert_eq!(rules.slow(rules.find("a")), SlowPolicy::Latest);
        assert_eq!(rules.find("c"), RuleNumber::NONE);
        assert_eq!(rules.kept_names().collect::<Vec<_>>(), ["b"]);
        assert!(rules.keep_unknown_names());
    }

    #[test]
    fn what_a_rule_has_dropped_stays_counted_while_its_pattern_is_there() {
        let mut rules = rules(&["a slow=latest", "b slow=oldest"]);
        rules.note_dropped(rules.find("b"), 1);
        rules.replace(&["c", "b slow=latest"].map(|line| TopicRule::parse(line).expect("a rule")));
        assert_eq!(rules.all().iter().map(|v| v.dropped).sum::<u64>(), 1);
        assert_eq!(rules.all()[1].dropped, 1);
    }
}
