//! A relay between a worker and a server of it, whose connections can be cut, stalled and slowed down.
//!
//! A stall holds the bytes of both directions and lets them through afterwards, in order, as a network
//! does that comes back: bytes that a worker sent long ago may still arrive.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Bytes that are carried at once: more than a frame usually has.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes that a slow connection carries at once, and the pause after them: 100 kB a second each way, a batch in
/// some tenths of a second.
const SLOW_BYTES: usize = 1024;
const SLOW_REST: Duration = Duration::from_millis(10);

/// Listens on a port of its own until it is dropped.
pub(super) struct Relay {
    pub(super) port: u16,
    state: watch::Sender<RelayState>,
    _task: AbortOnDropHandle<()>,
}

/// Where a server listens.
#[derive(Clone)]
pub(super) enum Server {
    /// On a port of this machine.
    Port(u16),
    /// On a socket in the file system.
    Socket(PathBuf),
}

#[derive(Clone, Copy, Default)]
struct RelayState {
    stalled: bool,
    slow: bool,
    /// How often everything was cut.
    cuts: u64,
}

impl Relay {
    /// A relay to a server.
    pub(super) async fn connect_to(server: Server) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let own = listener.local_addr().expect("it is bound").port();
        let state = watch::Sender::new(RelayState::default());
        let task = tokio::spawn(accept(listener, server, state.clone()));
        Relay { port: own, state, _task: AbortOnDropHandle::new(task) }
    }

    /// Cuts every connection; new ones can be made at once.
    pub(super) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Holds back all bytes, or lets them through.
    pub(super) fn stall(&self, stalled: bool) {
        self.state.send_modify(|state| state.stalled = stalled);
    }

    /// Carries slowly, or as fast as it can.
    pub(super) fn slow(&self, slow: bool) {
        self.state.send_modify(|state| state.slow = slow);
    }
}

async fn accept(listener: TcpListener, server: Server, state: watch::Sender<RelayState>) {
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("the listener is ours");
                carried.spawn(connect(client, server.clone(), state.subscribe()));
            }
            // How a connection ends is its ends' business.
            Some(ended) = carried.join_next() => drop(ended),
        }
    }
}

async fn connect(
    client: TcpStream,
    server: Server,
    state: watch::Receiver<RelayState>,
) -> io::Result<()> {
    // The two ends decide which bytes they send together.
    client.set_nodelay(true)?;
    match server {
        Server::Port(port) => {
            let server = TcpStream::connect(("127.0.0.1", port)).await?;
            server.set_nodelay(true)?;
            carry(client, server.into_split(), state).await
        }
        Server::Socket(path) => {
            carry(client, UnixStream::connect(path).await?.into_split(), state).await
        }
    }
}

/// Carries a connection until either end closes it, or it is cut.
async fn carry(
    client: TcpStream,
    (server_says, to_server): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    state: watch::Receiver<RelayState>,
) -> io::Result<()> {
    let (cuts, mut cut) = (state.borrow().cuts, state.clone());
    let (client_says, to_client) = client.into_split();
    tokio::select! {
        ended = copy(client_says, to_server, state.clone()) => ended,
        ended = copy(server_says, to_client, state) => ended,
        _ = cut.wait_for(|now| now.cuts != cuts) => Ok(()),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<RelayState>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let Ok(now) = state.wait_for(|state| !state.stalled).await.map(|now| *now) else {
                // The relay is gone.
                return Ok(());
            };
            let bytes = if now.slow { rest.len().min(SLOW_BYTES) } else { rest.len() };
            let (piece, later) = rest.split_at(bytes);
            to.write_all(piece).await?;
            rest = later;
            if now.slow {
                tokio::time::sleep(SLOW_REST).await;
            }
        }
    }
}
