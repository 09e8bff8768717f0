//! One connection to RabbitMQ, over AMQP 0-9-1: how it is opened, and what a refusal means.
//!
//! When a broker refuses something, it ends the channel, and says why on another way than that of the answer.
//! [`AmqpLink::ask`] brings both together.
//!
//! Never here: which events are consumed or published.

use std::fmt;
use std::time::Duration;

use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::{Channel, ExchangeDeclareArguments};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error;
use amqprs::tls::TlsAdaptor;
use amqprs::{Ack, BasicProperties, Cancel, Close, CloseChannel, Nack, Return};
use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::broker::BrokerAddress;
use crate::limits;

/// How long a broker may take to answer.
pub const ANSWER: Duration = Duration::from_secs(limits::BROKER_ANSWER_SECONDS);
/// How long the reason for an end may take after the end itself.
const REASON: Duration = Duration::from_millis(200);

/// AMQP 0-9-1 s. 1.4, reply codes: the user may not do that.
pub const ACCESS_REFUSED: u16 = 403;
/// AMQP 0-9-1 s. 1.4, reply codes: it is there, with other properties.
pub const PRECONDITION_FAILED: u16 = 406;

/// An exchange, and how newswire connects to its broker.
#[derive(Clone, Debug)]
pub struct ExchangePlace {
    /// The broker. Its path is the virtual host; empty is `/`.
    pub address: BrokerAddress,
    /// For `amqps://`.
    pub connector: Option<Connector>,
    /// The exchange; empty: none is declared.
    pub exchange: String,
    /// Its type: direct, fanout, topic, headers.
    pub exchange_type: String,
}

/// TLS, which has nothing to show.
#[derive(Clone)]
pub struct Connector(pub TlsConnector);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl ExchangePlace {
    fn connection(&self) -> OpenConnectionArguments {
        let address = &self.address;
        let host = match address.host.contains(':') {
            true => format!("[{}]", address.host),
            false => address.host.clone(),
        };
        let user = address.user.as_deref().unwrap_or("guest");
        let password = address.password.as_deref().unwrap_or("guest");
        let virtual_host = match &*address.path {
            "" => "/",
            path => path,
        };
        let mut arguments = OpenConnectionArguments::new(&host, address.port, user, password);
        arguments
            .virtual_host(virtual_host)
            .connection_name(&format!("newswire {}", std::process::id()))
            .heartbeat(limits::AMQP_HEARTBEAT_SECONDS);
        if let Some(connector) = &self.connector {
            arguments.tls_adaptor(TlsAdaptor::new(connector.0.clone(), address.host.clone()));
        }
        arguments
    }

    fn exchange_declaration(&self, is_passive: bool) -> ExchangeDeclareArguments {
        ExchangeDeclareArguments::new(&self.exchange, &self.exchange_type)
            .durable(true)
            .passive(is_passive)
            .finish()
    }
}

/// What a broker tells on its own account.
#[derive(Clone, Debug)]
pub enum Notice {
    /// It has ended something.
    End(End),
    /// Publisher confirms: it has taken the messages up to this number, or this one alone.
    Confirmed {
        /// The number.
        number: u64,
        /// True exactly when all before it are confirmed too.
        are_all: bool,
    },
    /// No queue is bound that takes a message.
    Unroutable,
}

/// Why a broker has ended something.
#[derive(Clone, Debug)]
pub struct End {
    code: u16,
    text: String,
}

impl End {
    /// The broker's notification that a consumer was cancelled, which has no reply code.
    const CANCELLED: u16 = 0;

    /// Returns true when a consumer has lost its queue.
    pub fn is_of_queue(&self) -> bool {
        self.code == Self::CANCELLED
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.text, self.code)
    }
}

/// A connection to a broker, and a channel on it.
pub struct AmqpLink {
    /// The connection.
    pub connection: Connection,
    /// The channel.
    pub channel: Channel,
    /// What the broker tells.
    pub notices: UnboundedReceiver<Notice>,
    /// New channels have it.
    notes: UnboundedSender<Notice>,
    /// True exactly when the user may not declare the exchange. It is only looked for then: another refusal would end
    /// the channel.
    only_looks: bool,
}

impl AmqpLink {
    /// Connects, and opens a channel.
    ///
    /// # Errors
    /// The reason, for operators.
    pub async fn open(place: &ExchangePlace) -> Result<Self, String> {
        let opening = timeout(ANSWER, Connection::open(&place.connection())).await;
        let seconds = limits::BROKER_ANSWER_SECONDS;
        let opened = opening.map_err(|_| format!("no answer within {seconds} s"))?;
        let connection = opened.map_err(|error| explain_refusal(&error, &place.address))?;
        let (notes, notices) = unbounded_channel();
        let registered = connection.register_callback(Callbacks(notes.clone())).await;
        registered.map_err(|error| error.to_string())?;
        let channel = open_channel(&connection, &notes).await?;
        Ok(Self {
            connection,
            channel,
            notices,
            notes,
            only_looks: false,
        })
    }

    /// Opens another channel in the place of the present one, which the broker has ended.
    ///
    /// # Errors
    /// The reason, for operators.
    pub async fn reopen(&mut self) -> Result<(), String> {
        self.channel = open_channel(&self.connection, &self.notes).await?;
        Ok(())
    }

    /// Waits for the answer to a request on the channel.
    ///
    /// # Errors
    /// The broker refuses, or does not answer in time.
    pub async fn ask<T>(
        &mut self,
        request: impl AsyncFnOnce(&Channel) -> Result<T, Error>,
    ) -> Result<T, AmqpRefused> {
        let error = match timeout(ANSWER, request(&self.channel)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", limits::BROKER_ANSWER_SECONDS),
        };
        let end = self.reason().await;
        Err(AmqpRefused { end, error })
    }

    /// Waits for a moment for the reason of an end, which comes on another way than the end itself.
    pub async fn reason(&mut self) -> Option<End> {
        timeout(REASON, self.end()).await.ok().flatten()
    }

    /// Waits until the broker ends something. `None` when the connection is gone.
    pub async fn end(&mut self) -> Option<End> {
        loop {
            if let Notice::End(end) = self.notices.recv().await? {
                return Some(end);
            }
        }
    }

    /// Declares the exchange, if there is one to be declared.
    ///
    /// # Errors
    /// A sentence that names what was asked for.
    pub async fn declare_exchange(&mut self, place: &ExchangePlace) -> Result<(), String> {
        let (name, kind) = (&place.exchange, &place.exchange_type);
        if name.is_empty() {
            return Ok(());
        }
        let declaration = place.exchange_declaration(self.only_looks);
        let declared = self.ask(async |channel| channel.exchange_declare(declaration).await);
        let refused = match declared.await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let what = format!("for the exchange `{name}` (type {kind}, durable)");
        if refused.code() != Some(ACCESS_REFUSED) {
            let advice = match refused.code() {
                Some(PRECONDITION_FAILED) => {
                    "an exchange of that name has other properties: name its type with amqp-exchange-type, or \
                     another exchange with amqp-exchange"
                }
                _ => "",
            };
            return Err(refused.about(&what, advice));
        }
        // A user who may not declare it may still bind to it, if it is there.
        self.only_looks = true;
        self.reopen().await?;
        let declaration = place.exchange_declaration(true);
        let found = self.ask(async |channel| channel.exchange_declare(declaration).await);
        found.await.map_err(|_| {
            let advice = "the user of amqp needs the permission `configure` for it, or somebody else \
                          declares it first";
            refused.about(&what, advice)
        })
    }
}

async fn open_channel(
    connection: &Connection,
    notes: &UnboundedSender<Notice>,
) -> Result<Channel, String> {
    let seconds = limits::BROKER_ANSWER_SECONDS;
    let opened = timeout(ANSWER, connection.open_channel(None)).await;
    let opened = opened.map_err(|_| format!("no channel within {seconds} s"))?;
    let channel = opened.map_err(|error| error.to_string())?;
    let registered = channel.register_callback(Callbacks(notes.clone())).await;
    registered.map_err(|error| error.to_string())?;
    Ok(channel)
}

/// A request that the broker has refused, or not answered.
#[derive(Debug)]
pub struct AmqpRefused {
    end: Option<End>,
    error: String,
}

impl AmqpRefused {
    /// The broker's reply code, if it has refused.
    pub fn code(&self) -> Option<u16> {
        self.end.as_ref().map(|end| end.code)
    }

    /// A sentence that names what was asked for, the broker's answer, and an advice.
    pub fn about(&self, what: &str, advice: &str) -> String {
        let reason = match &self.end {
            Some(end) => end.to_string(),
            None => self.error.clone(),
        };
        let advice = match advice {
            "" => String::new(),
            advice => format!("; {advice}"),
        };
        format!("newswire asked {what}, and the broker refused: {reason}{advice}")
    }
}

/// Why a connection did not come about.
fn explain_refusal(error: &Error, address: &BrokerAddress) -> String {
    let text = error.to_string();
    let user = address.user.as_deref().unwrap_or("guest");
    // RabbitMQ ends the connection without a word when the password is wrong.
    let ends = ["peer shutdown", "Connection reset", "ACCESS_REFUSED"];
    if ends.iter().any(|end| text.contains(end)) {
        return format!(
            "the broker ended the connection while newswire logged in as `{user}`: the user, its password or its \
             permission for the virtual host in amqp may be wrong, or what listens there is no AMQP broker"
        );
    }
    if text.contains("NOT_ALLOWED") {
        let vhost = if address.path.is_empty() {
            "/"
        } else {
            &address.path
        };
        return format!(
            "the broker has no virtual host `{vhost}`, or `{user}` may not use it: the path in amqp names it"
        );
    }
    text
}

/// Passes on why the broker has ended something.
struct Callbacks(UnboundedSender<Notice>);

impl Callbacks {
    fn note(&self, code: u16, text: &str) {
        // Nobody listens any more at the end.
        let _ = self.0.send(Notice::End(End {
            code,
            text: text.to_owned(),
        }));
    }
}

#[async_trait]
impl ConnectionCallback for Callbacks {
    async fn close(&mut self, _: &Connection, close: Close) -> Result<(), Error> {
        self.note(close.reply_code(), close.reply_text());
        Ok(())
    }

    async fn blocked(&mut self, _: &Connection, _: String) {}

    async fn unblocked(&mut self, _: &Connection) {}

    async fn secret_updated(&mut self, _: &Connection) {}
}

#[async_trait]
impl ChannelCallback for Callbacks {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<(), Error> {
        self.note(close.reply_code(), close.reply_text());
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), Error> {
        // RabbitMQ's consumer cancel notification.
        self.note(
            End::CANCELLED,
            "the queue was deleted, or its node went down",
        );
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, Error> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let _ = self.0.send(Notice::Confirmed {
            number: ack.delivery_tag(),
            are_all: ack.mutiple(),
        });
    }

    async fn publish_nack(&mut self, _: &Channel, _: Nack) {
        self.note(0, "the broker could not take a message");
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {
        let _ = self.0.send(Notice::Unroutable);
    }
}
