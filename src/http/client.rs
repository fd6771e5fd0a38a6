//! One GET request, for the commands that query a running worker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// How long a worker may take to answer. It takes milliseconds, however busy its lanes are; the bound is
/// below the time after which container runtimes give up on a health check.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Bytes of an answer. A status with a hundred waiting messages for each of 64 lanes has some 2 MB.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The worker's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server listens there, or it does not speak HTTP.
    #[error("ask the worker at {address}: {why}")]
    NoResponse {
        /// The address of the request.
        address: SocketAddr,
        /// What went wrong.
        why: String,
    },
}

/// Sends a GET request to the worker that listens on an address of this machine. For the unspecified
/// address the request goes to the loopback address.
///
/// # Errors
/// [`ClientError`] when there is no response within five seconds.
pub async fn get(listen: SocketAddr, path: &'static str) -> Result<Response, ClientError> {
    let address = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        _ => listen,
    };
    let failed = |why: String| ClientError::NoResponse { address, why };
    let response = tokio::time::timeout(ANSWER_TIME, send(address, path)).await;
    response
        .map_err(|_| failed(format!("no answer in {} s", ANSWER_TIME.as_secs())))?
        .map_err(failed)
}

async fn send(address: SocketAddr, path: &'static str) -> Result<Response, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let handshake = http1::handshake::<_, Body>(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path).header(HOST, address.to_string()).body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await;
    Ok(Response { status, body: body.map_err(|error| error.to_string())?.to_vec() })
}
