//! A relay to a broker that ends a connection with 541 whenever it would deliver a message with a mark
//! in its body, as RabbitMQ 4 does where its own code fails over a delivery.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What no delivery gets past with.
pub(crate) const MARK: &str = "no-delivery-gets-past-with-this";

/// `connection.close` with 541 and its name.
const CLOSE: &[u8] = b"\x01\0\0\0\0\0\x19\0\x0a\0\x32\x02\x1d\x0eINTERNAL_ERROR\0\0\0\0\xce";

/// Listens on a port of its own until it is dropped.
pub(crate) struct Poison {
    pub(crate) port: u16,
    ended: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Poison {
    /// A relay to a port of this machine.
    pub(crate) async fn before(port: u16) -> Poison {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let own = listener.local_addr().expect("it is bound").port();
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (client, _) = accepted.expect("the listener is ours");
                        carried.spawn(carry(client, port, Arc::clone(&counted)));
                    }
                    // How a connection ends is its ends' business.
                    Some(ended) = carried.join_next() => drop(ended),
                }
            }
        });
        Poison { port: own, ended, _task: AbortOnDropHandle::new(task) }
    }

    /// How many connections it has ended.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Acquire)
    }
}

async fn carry(client: TcpStream, port: u16, ended: Arc<AtomicUsize>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        copied = tokio::io::copy(&mut from_client, &mut to_server) => copied.map(drop),
        poisoned = deliver(&mut from_server, &mut to_client) => {
            if poisoned? {
                ended.fetch_add(1, Ordering::AcqRel);
                // The client's answer, and its end.
                drop(to_server);
                drop(from_server);
                tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await?;
            }
            Ok(())
        }
    }
}

/// Carries frames; whether it has ended the connection over one.
async fn deliver(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<bool> {
    const FRAME_BODY: u8 = 3;
    loop {
        let mut frame = vec![0; 7];
        from.read_exact(&mut frame).await?;
        let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
        frame.resize(8 + usize::try_from(size).expect("it fits"), 0);
        from.read_exact(&mut frame[7..]).await?;
        let poisoned = frame[0] == FRAME_BODY
            && frame.windows(MARK.len()).any(|window| window == MARK.as_bytes());
        to.write_all(if poisoned { CLOSE } else { &frame }).await?;
        if poisoned {
            return Ok(true);
        }
    }
}
