//! TLS to a database: rustls between the driver and its socket.
//!
//! newswire always checks the certificate and the host's name in it. The address (`sslmode`) says what has to be
//! encrypted; the driver uses this code only when the server agrees.
//!
//! Never here: the content of the connection, addresses.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::auth::agent::Trust;
use crate::net::tls;

/// The authorities that are trusted.
#[derive(Clone)]
pub struct Encryption {
    connector: TlsConnector,
}

impl Encryption {
    /// Trusts the authorities of `trust`.
    ///
    /// # Errors
    /// It has a certificate that cannot be an authority's.
    pub fn new(trust: &Trust) -> Result<Self, String> {
        let connector = tls::connector(trust.certificates());
        let connector = connector.map_err(|what| format!("auth-ca: {what}"))?;
        Ok(Self { connector })
    }
}

impl MakeTlsConnect<Socket> for Encryption {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        Ok(Handshake {
            connector: self.connector.clone(),
            name: ServerName::try_from(host.to_owned()).ok(),
        })
    }
}

/// The host with which a connection is to be encrypted.
pub struct Handshake {
    connector: TlsConnector,
    /// `None` when no certificate could name the host. The driver makes one of these for every connection, also for
    /// those that it will not encrypt.
    name: Option<ServerName<'static>>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let name =
                (self.name).ok_or_else(|| io::Error::other("no certificate has such a name"))?;
            let stream = self.connector.connect(name, stream).await?;
            Ok(Encrypted(Box::new(stream)))
        })
    }
}

/// An encrypted connection.
pub struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    // It would bind the password's proof to the server's certificate, which is checked already.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
