//! Publishing to an exchange of RabbitMQ, as Web Publisher does: not durable, `text/plain`.
//!
//! The broker confirms each message (RabbitMQ's publisher confirms), and returns one for which no queue is bound: then
//! no server would ever see it.
//!
//! Never here: declaring queues, which is the consumer's affair.

use amqprs::BasicProperties;
use amqprs::channel::{BasicPublishArguments, ConfirmSelectArguments};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::AmqpExchange;
use super::broker::{BrokerLink, BrokerPublisher};
use crate::cli::Failure;
use crate::limits;
use crate::net::amqp::{ANSWER, AmqpLink, Connector, ExchangePlace, Notice};
use crate::net::tls;

/// Connects, and declares the exchange as Web Publisher does.
///
/// # Errors
/// The broker cannot be reached, or refuses.
pub(super) fn connect(exchange: &AmqpExchange) -> Result<BrokerPublisher, Failure> {
    let connector = match exchange.address.scheme.is_tls {
        true => {
            let connector = tls::load("broker-ca", &exchange.authorities);
            Some(Connector(connector.map_err(Failure::Usage)?))
        }
        false => None,
    };
    let place = ExchangePlace {
        address: exchange.address.clone(),
        connector,
        exchange: exchange.name.clone(),
        exchange_type: exchange.kind.clone(),
    };
    let key = exchange.key.clone();
    BrokerPublisher::connect(&exchange.address.place(), open(place, key))
}

/// A connection, and where on it is published.
struct ExchangeLink {
    link: AmqpLink,
    place: ExchangePlace,
    key: String,
}

async fn open(place: ExchangePlace, key: String) -> Result<ExchangeLink, String> {
    let mut link = AmqpLink::open(&place).await?;
    link.declare_exchange(&place).await?;
    let confirms = ConfirmSelectArguments::new(false);
    let asked = link.ask(async |channel| channel.confirm_select(confirms).await);
    asked
        .await
        .map_err(|refused| refused.about("for publisher confirms", ""))?;
    Ok(ExchangeLink { link, place, key })
}

impl BrokerLink for ExchangeLink {
    async fn publish_all(&mut self, events: &mut mpsc::Receiver<Vec<u8>>) -> Result<(), String> {
        let Self { link, place, key } = self;
        let properties = BasicProperties::default()
            .with_content_type("text/plain")
            .finish();
        let arguments = BasicPublishArguments::new(&place.exchange, key)
            .mandatory(true)
            .finish();
        let (mut sent, mut confirmed, mut is_complete) = (0_u64, 0_u64, false);
        while !is_complete || confirmed < sent {
            let has_room =
                sent - confirmed < limits::BROKER_PUBLISH_WAITING_MAX as u64 && !is_complete;
            tokio::select! {
                event = events.recv(), if has_room => match event {
                    Some(event) => {
                        let (properties, arguments) = (properties.clone(), arguments.clone());
                        link.ask(async |channel| {
                            channel.basic_publish(properties, event, arguments).await
                        })
                        .await
                        .map_err(|refused| refused.about("to publish", ""))?;
                        sent += 1;
                    }
                    None => is_complete = true,
                },
                notice = link.notices.recv() => match notice {
                    Some(Notice::Confirmed { number, are_all: true }) => confirmed = confirmed.max(number),
                    Some(Notice::Confirmed { .. }) => confirmed += 1,
                    Some(Notice::Unroutable) => return Err(format!(
                        "no queue is bound to the exchange `{}` with the key `{key}`, so nobody would get the event: \
                         is newswire running, and connected to this broker (amqp)?",
                        place.exchange
                    )),
                    Some(Notice::End(end)) => return Err(end.to_string()),
                    None => return Err("the connection to the broker was lost".to_owned()),
                },
            }
        }
        Ok(())
    }

    async fn close(self) {
        let _ = timeout(ANSWER, self.link.connection.close()).await;
    }
}
