//! The socket as lapin sees it: what arrives goes through [`Frames`] first, behind TLS where there is
//! TLS. Sent bytes pass as they are.
//!
//! lapin takes the type of its stream from the reactor it is given, so there is a reactor that differs
//! from tokio's in that type, and in nothing else.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::AsyncTcpStream;

use super::repair::{Frames, Repairs};

/// tokio, with a stream of our own.
pub(super) type Runtime = async_rs::Runtime<RuntimeParts<Tokio, RepairingReactor>>;

/// A runtime for lapin whose streams record their repairs in `repairs`.
pub(super) fn runtime(repairs: &Arc<Repairs>) -> Runtime {
    let tokio = Tokio::current();
    let reactor = RepairingReactor { tokio: tokio.clone(), repairs: Arc::clone(repairs) };
    async_rs::Runtime::new(RuntimeParts::new(tokio, reactor))
}

/// A socket whose incoming frames are made readable.
#[derive(Debug)]
pub(super) struct Repaired<S> {
    inner: S,
    frames: Frames,
}

impl<S> Repaired<S> {
    pub(super) fn new(inner: S, repairs: Arc<Repairs>) -> Repaired<S> {
        Repaired { inner, frames: Frames::new(repairs) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Repaired<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Repaired { inner, frames } = self.get_mut();
        if out.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let taken = frames.take(out);
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            let arrived = ready!(Pin::new(&mut *inner).poll_read(context, frames.room()))?;
            if arrived == 0 {
                frames.finish();
                return Poll::Ready(Ok(frames.take(out)));
            }
            frames.arrived(arrived);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Repaired<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, pieces)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(context)
    }
}

/// tokio's reactor, but for the type of its streams.
#[derive(Clone, Debug)]
pub(super) struct RepairingReactor {
    tokio: Tokio,
    repairs: Arc<Repairs>,
}

impl Reactor for RepairingReactor {
    type TcpStream = Repaired<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.tokio.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tokio.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(period)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let (connect, repairs) = (self.tokio.tcp_connect_addr(address), Arc::clone(&self.repairs));
        async move { Ok(Repaired::new(AsyncTcpStream::Plain(connect.await?), repairs)) }
    }
}
