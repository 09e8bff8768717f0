//! What a publisher is answered over HTTP: what is wrong with a body, or how many clients receive its events.
//!
//! Never here: bodies and their events (`wire/publication`), and who receives them.

use super::response::Response;
use crate::stats::{Dropped, HttpStatus};
use crate::wire::id::EventId;
use crate::wire::publication::{EventPlace, PublicationFault};

/// The answer to a body of which nothing was published.
pub fn refusal(fault: &PublicationFault) -> Response {
    let PublicationFault {
        reason,
        place,
        what,
    } = fault;
    let hint = match reason {
        Dropped::BadJson => {
            "send {\"topic\":\"…\",\"data\":…}, an array of these, or one a line with Content-Type: \
             application/x-ndjson"
        }
        Dropped::Empty | Dropped::Parts => "send {\"topic\":\"…\",\"data\":…}",
        Dropped::TooLarge => "send less of it, or have event-bytes-max raised",
        Dropped::NoTopic => {
            "send {\"topic\":\"…\",\"data\":…}, or an object in which the server's topic-field is a \
             string"
        }
        Dropped::TooManyEvents => "send it in several; nothing of it was published",
        Dropped::TopicTooLong => "give it a shorter name, or have topic-bytes-max raised",
        Dropped::OwnTopic => "give it a name that does not begin with $",
        Dropped::NoSubscriber | Dropped::Filtered => "subscribe to its topic first",
    };
    let status = match reason {
        Dropped::TooLarge | Dropped::TooManyEvents => HttpStatus::ContentTooLarge,
        _ => HttpStatus::BadRequest,
    };
    let (subject, at) = match *place {
        EventPlace::Whole => ("the body".to_owned(), None),
        EventPlace::Index(n) => (format!("the event at index {n}"), Some(("index", n))),
        EventPlace::Line(n) => (format!("line {n}"), Some(("line", n))),
    };
    let hint = match place {
        EventPlace::Whole => hint.to_owned(),
        _ => format!("{hint}; nothing of the batch was published"),
    };
    Response::refusal_at(status, &format!("{subject} {what}"), &hint, at)
}

/// The answer to a body that was published: the id of its event, or of each of a batch, and how many subscribers the
/// topics have. Where workers serve the subscribers, nobody knows that, and the answer is how many events there were.
pub fn answer(is_batch: bool, ids: Vec<EventId>, subscribers: Option<Vec<usize>>) -> Response {
    let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
    Response::object(|body| {
        if is_batch || subscribers.is_none() {
            body.put("events", ids.len());
        }
        match is_batch {
            true => {
                if let Some(subscribers) = &subscribers {
                    body.put("subscribers", &subscribers[..]);
                }
                body.put("ids", &ids[..]);
            }
            false => {
                if let Some(subscribers) = &subscribers {
                    body.put("subscribers", subscribers.first());
                }
                body.put("id", ids.first().map(String::as_str));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PUBLISH_EVENTS_MAX;
    use crate::wire::envelope::Form;
    use crate::wire::id::Epoch;
    use crate::wire::publication::{Media, Publication};

    fn form() -> Form {
        Form {
            topic_field: "category".to_owned(),
            event_bytes_max: 1_000,
            topic_bytes_max: 20,
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_where() {
        let long = format!(r#"{{"topic":"t","data":"{}"}}"#, "x".repeat(1_000));
        let many = format!("[{}1]", "1,".repeat(PUBLISH_EVENTS_MAX));
        let lines = "{\"topic\":\"t\",\"data\":1}\n".repeat(PUBLISH_EVENTS_MAX + 1);
        for (body, media, reason, part) in [
            ("", Media::Json, Dropped::Empty, "the body has no event"),
            (" \n", Media::Lines, Dropped::Empty, "the body has no event"),
            ("[]", Media::Json, Dropped::Empty, "the body has no event"),
            (
                "{\"topic\":\n x}",
                Media::Json,
                Dropped::BadJson,
                "the body is not JSON: expected value at line 2 column 2",
            ),
            ("[1,", Media::Json, Dropped::BadJson, "the body is not JSON"),
            (
                "[1] 2",
                Media::Json,
                Dropped::BadJson,
                "the body is not JSON",
            ),
            (
                r#"[{"topic":"t","data":1},{"data":1}]"#,
                Media::Json,
                Dropped::NoTopic,
                "the event at index 1 names no topic, or has a topic and no data",
            ),
            (
                "{\"topic\":\"t\",\"data\":1}\n\n{\"topic\"}",
                Media::Lines,
                Dropped::BadJson,
                "line 3 is not JSON",
            ),
            (
                "5",
                Media::Json,
                Dropped::NoTopic,
                "the body names no topic, or has a topic and no data",
            ),
            (
                &long,
                Media::Json,
                Dropped::TooLarge,
                "the body is over 1000 bytes",
            ),
            (
                r#"{"topic":"123456789012345678901","data":1}"#,
                Media::Json,
                Dropped::TopicTooLong,
                "over 20 bytes",
            ),
            (
                r#"{"topic":"$sys/stats","data":1}"#,
                Media::Json,
                Dropped::OwnTopic,
                "the server's own",
            ),
            (&many, Media::Json, Dropped::TooManyEvents, "more than 1024"),
            (
                &lines,
                Media::Lines,
                Dropped::TooManyEvents,
                "more than 1024",
            ),
        ] {
            let publication = Publication::new(body.into(), media);
            let fault = publication.parse(&form()).expect_err("bad");
            assert_eq!(fault.reason, reason, "{body}");
            let answer: serde_json::Value =
                serde_json::from_slice(refusal(&fault).body()).expect("JSON");
            let error = answer["error"].as_str().expect("text");
            assert!(error.contains(part), "{error}");
            assert!(answer["hint"].is_string());
        }
        let publication =
            Publication::new(b"[{\"topic\":\"t\",\"data\":1},7]".to_vec(), Media::Json);
        let fault = publication.parse(&form()).expect_err("bad");
        let answer = String::from_utf8_lossy(refusal(&fault).body()).into_owned();
        assert!(answer.contains("\"index\":1"), "{answer}");
    }

    #[test]
    fn what_is_answered() {
        let id = |sequence| EventId {
            epoch: Epoch::new([0; 8]),
            sequence,
        };
        let (one, two) = (vec![id(7)], vec![id(7), id(8)]);
        let body = |answer: Response| String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(
            body(answer(false, one.clone(), Some(vec![3]))),
            r#"{"subscribers":3,"id":"aaaaaaaa-7"}"#
        );
        assert_eq!(
            body(answer(true, two.clone(), Some(vec![3, 0]))),
            r#"{"events":2,"subscribers":[3,0],"ids":["aaaaaaaa-7","aaaaaaaa-8"]}"#
        );
        assert_eq!(
            body(answer(false, one, None)),
            r#"{"events":1,"id":"aaaaaaaa-7"}"#
        );
        assert_eq!(
            body(answer(true, two, None)),
            r#"{"events":2,"ids":["aaaaaaaa-7","aaaaaaaa-8"]}"#
        );
    }
}
