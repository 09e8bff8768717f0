//! Publishing to a NATS server: each event on the subject of its topic, with its data as the payload.
//!
//! The command has succeeded when the server has answered a PING behind the last event. A server does not say whether
//! anybody is subscribed.
//!
//! Never here: the content of an event.

use tokio::sync::mpsc;

use super::NatsSubjects;
use super::broker::{BrokerLink, BrokerPublisher};
use crate::cli::Failure;
use crate::limits;
use crate::net::nats::{NatsLink, NatsPlace};
use crate::wire::envelope::Form;
use crate::wire::nats::{self, PING, PONG, ServerOp};

/// Connects.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub(super) fn connect(subjects: &NatsSubjects) -> Result<BrokerPublisher, Failure> {
    let place = NatsPlace::new(
        &subjects.address,
        &subjects.authorities,
        &subjects.credentials,
    );
    let place = place.map_err(Failure::Usage)?;
    let prefix = subjects.prefix.clone();
    let open = async move {
        let link = NatsLink::open(&place).await?;
        Ok(SubjectsLink { link, prefix })
    };
    BrokerPublisher::connect(&subjects.address.place(), open)
}

/// A connection, and the prefix of subjects.
struct SubjectsLink {
    link: NatsLink,
    prefix: String,
}

impl SubjectsLink {
    /// Adds an event to what is sent.
    fn push(&mut self, event: &[u8]) -> Result<(), String> {
        let form = Form {
            topic_field: "topic".to_owned(),
            event_bytes_max: usize::MAX,
            topic_bytes_max: usize::MAX,
        };
        let event = form.parse(&[event]);
        let event = event.map_err(|reason| format!("this is no event: {}", reason.name()))?;
        let topic = &*event.topic;
        let Some(subject) = nats::subject(&self.prefix, topic) else {
            return Err(format!(
                "no subject can carry the topic {topic:?}: subjects have no white space, no `*`, no `>`, no empty \
                 part and at most {} bytes",
                limits::NATS_SUBJECT_BYTES_MAX
            ));
        };
        let bytes_max = self.link.info.payload_bytes_max;
        if let Some(max) = bytes_max.filter(|&max| event.data.len() > max) {
            return Err(format!(
                "the event has {} bytes, and the server takes at most {max} (its max_payload)",
                event.data.len()
            ));
        }
        nats::publish(&subject, event.data.as_bytes(), self.link.writer.out());
        Ok(())
    }
}

impl BrokerLink for SubjectsLink {
    async fn publish_all(&mut self, events: &mut mpsc::Receiver<Vec<u8>>) -> Result<(), String> {
        let lost =
            |error: std::io::Error| format!("the connection to the server was lost: {error}");
        let mut is_complete = false;
        loop {
            let has_room =
                !is_complete && self.link.writer.unsent() < limits::NATS_PUBLISH_BYTES_MAX;
            let NatsLink { reader, writer, .. } = &mut self.link;
            tokio::select! {
                event = events.recv(), if has_room => match event {
                    Some(event) => self.push(&event)?,
                    None => {
                        is_complete = true;
                        self.link.writer.push(PING);
                    }
                },
                written = writer.flush(), if writer.has_unsent() => written.map_err(lost)?,
                op = reader.next() => match op? {
                    ServerOp::Pong if is_complete => return Ok(()),
                    ServerOp::Ping => self.link.writer.push(PONG),
                    ServerOp::Error(text) => return Err(format!(
                        "the server refused: {text}. The prefix of subjects is nats-prefix"
                    )),
                    ServerOp::Pong | ServerOp::Ok | ServerOp::Info(_) | ServerOp::Message { .. } => {}
                },
            }
        }
    }

    async fn close(self) {}
}
