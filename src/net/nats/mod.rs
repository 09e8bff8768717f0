//! One connection to a NATS server: how it is opened, read and written, and what a refusal means.
//!
//! Never here: what is subscribed to or published, and connecting again.

mod credentials;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

pub use credentials::Credentials;

use super::broker::BrokerAddress;
use super::tls;
use crate::limits;
use crate::wire::nats::{self, Login, NatsDecoder, ServerInfo, ServerOp};

/// How long a server may take to answer.
pub const ANSWER: Duration = Duration::from_secs(limits::BROKER_ANSWER_SECONDS);

/// A server, and who newswire is there.
#[derive(Clone)]
pub struct NatsPlace {
    /// The server. A user without a password is a token.
    pub address: BrokerAddress,
    /// For `tls://`, and for servers that speak TLS with everybody.
    pub connector: TlsConnector,
    /// In the place of user and password.
    pub credentials: Option<Arc<Credentials>>,
}

impl fmt::Debug for NatsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsPlace({:?}, {:?})", self.address, self.credentials)
    }
}

impl NatsPlace {
    /// A place with the authorities and the credentials of these files. An empty name of a file is none.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(
        address: &BrokerAddress,
        authorities: &str,
        credentials: &str,
    ) -> Result<Self, String> {
        let credentials = match credentials {
            "" => None,
            path => Some(Arc::new(Credentials::load(path)?)),
        };
        Ok(Self {
            address: address.clone(),
            connector: tls::load("broker-ca", authorities)?,
            credentials,
        })
    }
}

/// TCP, or TLS over it.
trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Pipe for S {}

/// A connection on which the server has let newswire in.
pub struct NatsLink {
    /// What is read.
    pub reader: NatsReader,
    /// What is written.
    pub writer: NatsWriter,
    /// What the server says about itself.
    pub info: ServerInfo,
}

impl NatsLink {
    /// Connects, and logs in.
    ///
    /// # Errors
    /// The reason, for operators.
    pub async fn open(place: &NatsPlace) -> Result<Self, String> {
        let opened = timeout(ANSWER, open(place)).await;
        let seconds = limits::BROKER_ANSWER_SECONDS;
        opened.unwrap_or_else(|_| Err(format!("no answer within {seconds} s")))
    }

    /// A link on `stream`, on which nothing was said yet.
    fn on(stream: Box<dyn Pipe>) -> Self {
        let (read, write) = split(stream);
        Self {
            reader: NatsReader {
                stream: read,
                // With one byte over the bound, the intake sees that an event is too large.
                decoder: NatsDecoder::new(limits::EVENT_BYTES_CEILING + 1),
                bytes: vec![0; limits::NATS_READ_BYTES],
                unread: 0..0,
            },
            writer: NatsWriter {
                stream: write,
                unsent: Vec::new(),
                sent: 0,
                is_flushed: true,
            },
            info: ServerInfo::default(),
        }
    }

    /// Puts TLS on the connection, before which nothing but the server's greeting has come.
    async fn secure(self, place: &NatsPlace) -> Result<Self, String> {
        let stream = self.reader.stream.unsplit(self.writer.stream);
        let host = ServerName::try_from(place.address.host.clone());
        let host = host
            .map_err(|_| "the host in nats is no name that a certificate could have".to_owned())?;
        let secured = place.connector.connect(host, stream).await;
        let stream = secured.map_err(|error| {
            format!("TLS with the server failed: {error} (broker-ca names the authorities that newswire trusts)")
        })?;
        Ok(Self {
            info: self.info,
            ..Self::on(Box::new(stream))
        })
    }
}

async fn open(place: &NatsPlace) -> Result<NatsLink, String> {
    let address = &place.address;
    let stream = TcpStream::connect((&*address.host, address.port)).await;
    let stream = stream.map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let mut link = NatsLink::on(Box::new(stream));
    link.info = match link.reader.next().await? {
        ServerOp::Info(info) => info,
        ServerOp::Error(text) => return Err(format!("the server refused newswire: {text}")),
        _ => return Err(nats::NoNats.to_string()),
    };
    let is_tls = address.scheme.is_tls || link.info.requires_tls;
    if is_tls && !link.info.offers_tls {
        return Err(
            "the server offers no TLS: nats has to begin with nats:// to do without".to_owned(),
        );
    }
    if is_tls {
        link = link.secure(place).await?;
    }
    let name = format!("newswire {}", std::process::id());
    let login = login(place, &link.info.nonce);
    link.writer.push(&nats::connect(&name, is_tls, &login));
    link.writer.push(nats::PING);
    link.writer
        .flush()
        .await
        .map_err(|error| error.to_string())?;
    loop {
        match link.reader.next().await? {
            ServerOp::Pong => return Ok(link),
            ServerOp::Error(text) => return Err(explain_refusal(&text, place)),
            ServerOp::Info(info) => link.info = info,
            ServerOp::Ping => link.writer.push(nats::PONG),
            ServerOp::Ok | ServerOp::Message { .. } => {}
        }
    }
}

fn login<'a>(place: &'a NatsPlace, nonce: &str) -> Login<'a> {
    if let Some(credentials) = &place.credentials {
        return Login {
            signed: Some((credentials.jwt(), credentials.sign(nonce))),
            ..Login::default()
        };
    }
    let (user, password) = (
        place.address.user.as_deref(),
        place.address.password.as_deref(),
    );
    match password {
        Some(_) => Login {
            user,
            password,
            ..Login::default()
        },
        None => Login {
            token: user,
            ..Login::default()
        },
    }
}

/// Why the server has not let newswire in.
fn explain_refusal(text: &str, place: &NatsPlace) -> String {
    let lower = text.to_ascii_lowercase();
    if !["authorization", "authentication"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return format!("the server refused newswire: {text}");
    }
    let asked = match (&place.credentials, &place.address.user, &place.address.password) {
        (Some(credentials), ..) => format!(
            "with the credentials in {}: nats-credentials names another file",
            credentials.path()
        ),
        (None, Some(user), Some(_)) => {
            format!("as the user `{user}`: user and password stand in the URL of nats")
        }
        (None, Some(_), None) => "with a token: it stands in the URL of nats, before the @".to_owned(),
        (None, None, _) => "without a name: user and password, or a token, stand before an @ in the URL of nats, and \
                            nats-credentials names a .creds file"
            .to_owned(),
    };
    format!("newswire logged in {asked}. The server refused: {text}")
}

/// Reads what a server sends.
pub struct NatsReader {
    stream: ReadHalf<Box<dyn Pipe>>,
    decoder: NatsDecoder,
    bytes: Vec<u8>,
    /// The part of `bytes` that was read and not decoded.
    unread: std::ops::Range<usize>,
}

impl NatsReader {
    /// What has been read already. `None`: [`NatsReader::fill`] reads more.
    ///
    /// # Errors
    /// What comes is not NATS.
    pub fn ready(&mut self) -> Result<Option<ServerOp>, String> {
        let mut input = &self.bytes[self.unread.clone()];
        let decoded = self.decoder.decode(&mut input);
        self.unread.start = self.unread.end - input.len();
        decoded.map_err(|no| no.to_string())
    }

    /// Reads more, after [`NatsReader::ready`] had nothing. It may be given up halfway.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn fill(&mut self) -> Result<(), String> {
        let lost = |error: io::Error| format!("the connection was lost: {error}");
        let count = self.stream.read(&mut self.bytes).await.map_err(lost)?;
        if count == 0 {
            return Err("the server ended the connection".to_owned());
        }
        self.unread = 0..count;
        Ok(())
    }

    /// Waits for the next operation.
    ///
    /// # Errors
    /// The connection is over, or what comes is not NATS.
    pub async fn next(&mut self) -> Result<ServerOp, String> {
        loop {
            if let Some(op) = self.ready()? {
                return Ok(op);
            }
            self.fill().await?;
        }
    }
}

/// Writes what newswire has for a server.
pub struct NatsWriter {
    stream: WriteHalf<Box<dyn Pipe>>,
    unsent: Vec<u8>,
    /// In bytes of `unsent` that were sent.
    sent: usize,
    /// False while TLS may hold bytes back.
    is_flushed: bool,
}

impl NatsWriter {
    /// Adds bytes that [`NatsWriter::flush`] sends.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// The bytes that [`NatsWriter::flush`] sends, to add some.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// In bytes, what is to be sent.
    pub fn unsent(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Returns true when [`NatsWriter::flush`] has something to do.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.unsent.len() || !self.is_flushed
    }

    /// Sends everything. It may be given up halfway, and goes on where it was.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            self.is_flushed = false;
            let count = self.stream.write(&self.unsent[self.sent..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent += count;
            // The other side may never read everything.
            if self.sent >= limits::NATS_READ_BYTES {
                self.unsent.drain(..self.sent);
                self.sent = 0;
            }
        }
        self.unsent.clear();
        self.sent = 0;
        self.stream.flush().await?;
        self.is_flushed = true;
        Ok(())
    }
}
