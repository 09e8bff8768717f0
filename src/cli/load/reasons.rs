//! Why a load test cannot go on, in words that say what to do about it. Where the server has said why, its own words are
//! shown.
//!
//! Never here: when a test ends.

use super::super::channel::Channel;
use super::super::client::ConnectError;
use super::super::past::Wish;
use super::super::protocol::Protocol;
use super::PATIENCE;
use super::options::LoadArguments;

/// Says why a server refuses every connection with `status`. It connects once more, for the server's own words.
pub(super) fn refusal(options: &LoadArguments, status: u16) -> String {
    let target = &options.target;
    match own_words(options, 0) {
        Some(text) => text,
        None if (target.protocol, status) == (Protocol::Sse, 0) => format!(
            "{target} sends no stream as newswire does (a proxy cuts streams into chunks, or ends them): a load test needs \
             the server's own listener"
        ),
        None => format!("{target} refused all connections with {status}"),
    }
}

/// What the server says to one more subscriber that has the topic of `seat`; `None` when it accepts that one.
fn own_words(options: &LoadArguments, seat: usize) -> Option<String> {
    let topic = std::slice::from_ref(options.topic(seat));
    match Channel::open(&options.target, topic, Wish::default(), PATIENCE) {
        Err(ConnectError::Refused(text) | ConnectError::Failed(text)) => Some(text),
        Ok(_) => None,
    }
}

/// Says what to do about the topic of `seat`, which the server denies. Without a reason it was a stream that was denied,
/// and the server is asked for its own words.
pub(super) fn denied(options: &LoadArguments, seat: usize, reason: Option<&str>) -> String {
    let target = &options.target;
    let words = match reason {
        Some(_) => None,
        None => own_words(options, seat),
    };
    let answered = format!("{target} answered ");
    let words = words
        .as_deref()
        .map(|text| text.strip_prefix(&answered).unwrap_or(text));
    format!(
        "{target} denies the topic {}: {}: if the token may not subscribe to it, name with --topic one to which it may",
        options.topic(seat),
        reason.or(words).unwrap_or("403 Forbidden")
    )
}

/// Says why so many of the subscribers may have received no probe.
pub(super) fn unheard(silent: usize, options: &LoadArguments) -> String {
    let mut text = format!(
        "{silent} of {} subscribers receive nothing that is pushed to {}: is that an endpoint of the server at {}?",
        options.connections, options.to, options.target
    );
    if !options.target.protocol.confirms() {
        text.push_str(&format!(
            " And may the token subscribe to the topic {}? If it may not, name with --topic one to which it may",
            options.topics[0]
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    #[test]
    fn who_hears_nothing_is_told_of_both_ends_and_of_the_option_for_a_restricted_token() {
        let line = ["load", "ws://a:1/?token=sesame", "--to", "tcp://b:2"];
        let matches = command().try_get_matches_from(line).expect("good");
        let text = unheard(3, &LoadArguments::from_matches(&matches).expect("good"));
        for part in ["3 of 1000 ", "tcp://b:2", "ws://a:1/?", "load-0", "--topic"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("sesame"), "{text}");
    }
}
