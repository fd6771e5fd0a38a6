//! One connection, from the socket up, and a way to shut it down.
//!
//! lapin cannot close a connection that an alarm has blocked, nor one whose peer is frozen: its
//! close waits behind the writes that are stuck, and its I/O thread and socket stay for as long as
//! that lasts, one more for each attempt to connect. So we open the socket ourselves and keep a
//! second handle of it: dropping a [`BrokerConnection`], or giving up on connecting, shuts the socket
//! down, and lapin's thread ends with it.
//!
//! Deliberately absent: lapin's recovery (trap 1), and `frame_max`, where every broker knows best.

use std::future::Future;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_rs::TokioRuntime;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties};

use super::reasons::Goal;
use super::repair::Repairs;
use super::stream::{self, Repaired};
use super::{Error, Settings, with_timeout};
use crate::domain::byte_order_mark::bytes_without_mark;

/// A connection whose socket is shut down when it is dropped.
#[derive(Debug)]
pub(super) struct BrokerConnection {
    pub(super) connection: Connection,
    /// The fields repaired in its deliveries.
    pub(super) repairs: Arc<Repairs>,
    _shutdown_guard: SocketShutdownGuard,
}

impl BrokerConnection {
    /// Validates the settings: the URL, and the files for TLS.
    pub(super) async fn check(settings: &Settings) -> Result<(), Error> {
        uri(settings)?;
        tls(settings).await.map(drop)
    }

    /// Connects; `purpose` ends the connection's name in RabbitMQ's listings.
    pub(super) async fn open(
        settings: &Settings,
        purpose: &str,
    ) -> Result<BrokerConnection, Error> {
        let mut uri = uri(settings)?;
        uri.query.heartbeat = Some(settings.heartbeat_secs);
        let tls = tls(settings).await?;
        let goal = Goal::from_uri(&uri);

        let shutdown_guard = SocketShutdownGuard::default();
        let socket = shutdown_guard.socket.clone();
        let repairs = Arc::new(Repairs::default());
        let runtime = stream::runtime(&repairs);
        let (dialling, stream_repairs) = (TokioRuntime::tokio_current(), Arc::clone(&repairs));
        let dial = async move |uri: AMQPUri, _| {
            let AMQPUri { scheme, authority, .. } = uri;
            let to = (authority.host.clone(), authority.port);
            let stream = AsyncTcpStream::connect(&dialling, dialling.to_socket_addrs(to)).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                let handle = plain.get_ref().as_fd().try_clone_to_owned()?;
                socket.lock().unwrap_or_else(PoisonError::into_inner).set(handle.into())?;
            }
            let stream = match scheme {
                AMQPScheme::AMQP => stream,
                AMQPScheme::AMQPS => stream.into_tls(&authority.host, tls.as_ref()).await?,
            };
            Ok(AsyncTcpStream::Plain(Repaired::new(stream, Arc::clone(&stream_repairs))))
        };
        let name = format!("{} {purpose}", settings.connection_name);
        let properties = ConnectionProperties::default()
            .with_client_property("product".into(), "throughline".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_connection_name(name.into());
        // lapin ignores the `connection_timeout` of a URL (trap 7).
        let limit = Duration::from_millis(settings.connect_timeout_ms);
        let connection = with_timeout(limit, Connection::connector(uri, runtime, dial, properties))
            .await
            .map_err(|error| goal.unreached(&error))?;
        Ok(BrokerConnection { connection, repairs, _shutdown_guard: shutdown_guard })
    }

    /// Opens a channel.
    pub(super) async fn channel(&self, limit: Duration) -> Result<Channel, Error> {
        with_timeout(limit, self.connection.create_channel())
            .await
            .map_err(|error| Error::Unreachable(format!("opening a channel: {error}")))
    }
}

/// What the end of a connection says of the message that was being delivered: the cause, where it may be
/// at fault. None for ends that have other causes: a broker that stops, a network that is cut.
pub(super) fn fault(error: &lapin::Error) -> Option<String> {
    // FRAME_ERROR, SYNTAX_ERROR, UNEXPECTED_FRAME, INTERNAL_ERROR. RabbitMQ says the last where its own
    // code fails over a delivery, and lapin the others where it cannot take one.
    const CODES: [u16; 4] = [501, 502, 505, 541];
    match error.kind() {
        lapin::ErrorKind::ParsingError(_) => Some("the client cannot read it".to_owned()),
        lapin::ErrorKind::ProtocolError(error) if CODES.contains(&error.get_id()) => {
            Some(format!("the connection ends over it with {}", error.get_id()))
        }
        _ => None,
    }
}

/// Shuts the socket down when it is dropped, or, if the socket is opened later, at once.
#[derive(Debug, Default)]
struct SocketShutdownGuard {
    socket: Arc<Mutex<SocketSlot>>,
}

#[derive(Debug, Default)]
enum SocketSlot {
    #[default]
    Empty,
    Open(TcpStream),
    ShutDown,
}

impl SocketSlot {
    fn set(&mut self, stream: TcpStream) -> std::io::Result<()> {
        if matches!(self, SocketSlot::ShutDown) {
            return Err(std::io::Error::other("the connection attempt was given up"));
        }
        *self = SocketSlot::Open(stream);
        Ok(())
    }
}

impl Drop for SocketShutdownGuard {
    fn drop(&mut self) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let SocketSlot::Open(stream) = std::mem::replace(&mut *socket, SocketSlot::ShutDown)
            && let Err(error) = stream.shutdown(Shutdown::Both)
        {
            // After a proper close the socket is gone already.
            tracing::trace!(%error, "the socket was closed already");
        }
    }
}

pub(super) fn uri(settings: &Settings) -> Result<AMQPUri, Error> {
    let unusable = |reason| Error::Settings(format!("the URL {}: {reason}", settings.masked_url()));
    settings.url.parse().map_err(unusable)
}

pub(super) async fn tls(settings: &Settings) -> Result<OwnedTLSConfig, Error> {
    let cert_chain = match &settings.tls_ca_file {
        Some(path) => {
            let pem = String::from_utf8(read(path).await?);
            Some(pem.map_err(|_| Error::Settings(format!("{} is no PEM file", path.display())))?)
        }
        None => None,
    };
    let identity = match (&settings.tls_cert_file, &settings.tls_key_file) {
        (Some(cert), Some(key)) => {
            Some(OwnedIdentity::PKCS8 { pem: read(cert).await?, key: read(key).await? })
        }
        (None, None) => None,
        _ => {
            let reason = "a client's certificate and its key belong together";
            return Err(Error::Settings(String::from(reason)));
        }
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}

fn read(path: &Path) -> impl Future<Output = Result<Vec<u8>, Error>> {
    let failed = move |error| Error::Settings(format!("reading {}: {error}", path.display()));
    async move {
        let bytes = tokio::fs::read(path).await.map_err(failed)?;
        Ok(bytes_without_mark(&bytes).to_vec())
    }
}
