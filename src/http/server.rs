//! The server: a listener, a thread of its own, few and short connections.
//!
//! Invariants: the address is bound before anything is consumed, so that a port in use is reported
//! first. A client, however slowly it reads or writes, occupies one of a few connections for some
//! seconds and nothing else. The thread ends when its [`RunningServer`] is dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Monitor;
use super::routes::routes;

/// Connections at the same time. Probes, a scraper or two, and an operator; further connections wait
/// to be accepted.
const CONNECTIONS: usize = 32;

/// How long a connection may last, from its first byte to its last. An answer takes a millisecond.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// How long a request may take to arrive.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// Bytes of a request's head. Browsers send one or two thousand; 8 KiB is the least that hyper accepts.
const HEAD_BYTES: usize = 8 * 1024;

/// Lines of a request's head: a browser behind two proxies sends some thirty.
const HEAD_LINES: usize = 64;

/// The pause after a connection could not be accepted, most often for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is in use, is not this machine's, or needs privileges.
    #[error("listen on {address} (http.listen): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("start the HTTP server: {0}")]
    Start(#[source] io::Error),
}

/// A server that is bound and does not answer requests yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// A server that answers requests until it is dropped.
#[derive(Debug)]
pub struct RunningServer {
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Binds an address; port 0 is any free one.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub fn bind(address: SocketAddr) -> Result<Server, ServerError> {
        let bound = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Server { listener, address })
        };
        bound().map_err(|source| ServerError::Bind { address, source })
    }

    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to answer requests.
    ///
    /// # Errors
    /// [`ServerError::Start`].
    pub fn serve(self, monitor: Arc<dyn Monitor>) -> Result<RunningServer, ServerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ServerError::Start)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener).map_err(ServerError::Start)?
        };
        let stop = CancellationToken::new();
        let until = stop.clone();
        let run = move || runtime.block_on(accept(listener, routes(monitor), until));
        let thread = thread::Builder::new().name("http".to_owned()).spawn(run);
        Ok(RunningServer { stop, thread: Some(thread.map_err(ServerError::Start)?) })
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop.cancel();
        // Panicked or not, the thread has ended; the panic hook has logged the place.
        if let Some(Err(_)) = self.thread.take().map(thread::JoinHandle::join) {
            tracing::error!("the HTTP server has panicked");
        }
    }
}

/// Accepts connections until `stop`; open connections are dropped then.
async fn accept(listener: tokio::net::TcpListener, routes: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, routes.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
}

/// Answers one request.
async fn serve_connection(stream: TcpStream, routes: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request was not answered"),
        Err(_) => tracing::debug!("a request took too long"),
    }
}
