//! A relay between a worker and the broker, whose connections can be cut and stalled.
//!
//! A stall holds the bytes of both directions and lets them through afterwards, in order, as a network
//! does that comes back: what a worker sent long ago may still arrive.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Bytes that are carried at once: more than a frame usually has.
const BUFFER_BYTES: usize = 16 * 1024;

/// Listens on a port of its own until it is dropped.
pub(super) struct Relay {
    pub(super) port: u16,
    orders: watch::Sender<Orders>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct Orders {
    stalled: bool,
    /// How often everything was cut.
    cuts: u64,
}

impl Relay {
    /// A relay to a port of this machine.
    pub(super) async fn to(port: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let own = listener.local_addr().expect("it is bound").port();
        let orders = watch::Sender::new(Orders::default());
        let task = tokio::spawn(accept(listener, port, orders.clone()));
        Relay { port: own, orders, _task: AbortOnDropHandle::new(task) }
    }

    /// Cuts every connection; new ones can be made at once.
    pub(super) fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Holds back what is sent, or lets it through.
    pub(super) fn stall(&self, stalled: bool) {
        self.orders.send_modify(|orders| orders.stalled = stalled);
    }
}

async fn accept(listener: TcpListener, port: u16, orders: watch::Sender<Orders>) {
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("the listener is ours");
                carried.spawn(carry(client, port, orders.subscribe()));
            }
            // How a connection ends is its ends' business.
            Some(ended) = carried.join_next() => drop(ended),
        }
    }
}

/// Carries a connection until either end closes it, or it is cut.
async fn carry(client: TcpStream, port: u16, orders: watch::Receiver<Orders>) -> io::Result<()> {
    let (cuts, mut cut) = (orders.borrow().cuts, orders.clone());
    let broker = TcpStream::connect(("127.0.0.1", port)).await?;
    let (client_says, to_client) = client.into_split();
    let (broker_says, to_broker) = broker.into_split();
    tokio::select! {
        ended = copy(client_says, to_broker, orders.clone()) => ended,
        ended = copy(broker_says, to_client, orders) => ended,
        _ = cut.wait_for(|now| now.cuts != cuts) => Ok(()),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if orders.wait_for(|orders| !orders.stalled).await.is_err() {
            // The relay is gone.
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}
