//! Mindful's *Retrieve Widget Status* endpoint, with good and bad responses: each widget's id
//! selects one. A server of its own for each test, on a free port; it ends with the test.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::task::AbortOnDropHandle;

use super::bench::within_timeout;
use super::program::write;

/// The endpoint. While `held` has no permits, requests for the widget `held` get no answer.
pub(crate) struct MindfulServer {
    /// The value for `gate.base_url`.
    pub(crate) base_url: String,
    state: Arc<State>,
    requests: watch::Receiver<usize>,
    _server: AbortOnDropHandle<()>,
}

struct State {
    base_url: String,
    /// The heads of the requests, as they came.
    heads: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
    held: Semaphore,
}

impl MindfulServer {
    /// An endpoint without TLS.
    pub(crate) async fn start() -> MindfulServer {
        MindfulServer::serve(None).await
    }

    /// An endpoint with a certificate for `host`, and the file with the authority that signed it.
    pub(crate) async fn with_certificate(host: &str, folder: &Path) -> (MindfulServer, PathBuf) {
        let key = || KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new([]).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = key();
        let root = authority.self_signed(&authority_key).expect("it signs itself");
        let issuer = Issuer::new(authority, authority_key);
        let own_key = key();
        let own = CertificateParams::new([host.to_owned()]).expect("a name");
        let own = own.signed_by(&own_key, &issuer).expect("it is signed");
        let provider = ring::default_provider();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], secret)
            .expect("the key is the certificate's");
        let mindful = MindfulServer::serve(Some(TlsAcceptor::from(Arc::new(config)))).await;
        (mindful, write(folder, "authority.pem", &root.pem()))
    }

    async fn serve(tls: Option<TlsAcceptor>) -> MindfulServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://127.0.0.1:{port}");
        let (count, requests) = watch::channel(0);
        let state = Arc::new(State {
            base_url: base_url.clone(),
            heads: Mutex::default(),
            count,
            held: Semaphore::new(0),
        });
        let server_state = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut conversations = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let (state, tls) = (Arc::clone(&server_state), tls.clone());
                conversations.spawn(async move {
                    match tls {
                        None => answer(stream, &state).await,
                        Some(tls) => {
                            // A client that does not trust the certificate closes the connection.
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &state).await;
                            }
                        }
                    }
                });
            }
        });
        let _server = AbortOnDropHandle::new(server);
        MindfulServer { base_url, state, requests, _server }
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().expect("no test panics here").clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn await_requests(&self, count: usize) {
        let mut requests = self.requests.clone();
        within_timeout(requests.wait_for(|seen| *seen >= count)).await.expect("the server runs");
    }

    /// Answers all requests for `held`, those to come included.
    pub(crate) fn release(&self) {
        self.state.held.add_permits(Semaphore::MAX_PERMITS >> 1);
    }
}

/// Reads one request and answers it as its widget says. The client may close the connection meanwhile.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("a head is text");
    let path = head.split(' ').nth(1).expect("a path").to_owned();
    state.heads.lock().expect("no test panics here").push(head);
    state.count.send_modify(|count| *count += 1);
    let widget = path.strip_prefix("/api/widget/").unwrap_or("404");
    let offer = r#"{"data":[{"widget_state":"offer_callback"}]}"#;
    let response = match widget {
        "held" => {
            state.held.acquire().await.expect("it is never closed").forget();
            ok(offer)
        }
        "silent" => return std::future::pending().await,
        "slow" => {
            let half = &ok(offer)[..60];
            if stream.write_all(half.as_bytes()).await.is_err() {
                return;
            }
            return std::future::pending().await;
        }
        "cut" => ok(offer)[..60].to_owned(),
        "closed-connection" => return,
        "not-http" => "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
        "empty" => ok(""),
        "not-json" => ok("<html>offer_callback</html>"),
        "no-data" => ok(r#"{"data":[]}"#),
        "endless" => ok(&format!(r#"{{"x":"{}"}}"#, "x".repeat(1024 * 1024))),
        "moved" => format!(
            "HTTP/1.1 302 Found\r\nlocation: {}/api/widget/offer_callback\r\ncontent-length: 0\r\n\r\n",
            state.base_url
        ),
        code if code.len() == 3 && code.parse::<u16>().is_ok() => {
            ok(offer).replacen("200", code, 1)
        }
        name => ok(&format!(r#"{{"data":[{{"widget_state":"{name}"}}]}}"#)),
    };
    if stream.write_all(response.as_bytes()).await.is_ok() {
        stream.shutdown().await.ok();
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
