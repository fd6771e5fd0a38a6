//! What is said of a broker that is not reached, and of what is to be changed. One private node, with a port
//! for TLS and one without.

use std::net::TcpListener;
use std::sync::Arc;

use throughline::broker::{Error, Link, Settings};
use tokio::sync::watch;

use crate::support::bench::{self, within_timeout};
use crate::support::certificates::certificate;
use crate::support::rabbitmq::Node;

/// What no error may tell.
const PASSWORD: &str = "hunter2-planted";

async fn connect(settings: &Settings) -> Result<Link, Error> {
    within_timeout(Link::open(Arc::new(settings.clone()), watch::Sender::default())).await
}

#[tokio::test]
async fn invalid_url_is_reported_with_the_setting_to_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    certificate(directory.path(), "ca", None, "basicConstraints=critical,CA:TRUE");
    certificate(directory.path(), "server", Some("ca"), "subjectAltName=IP:127.0.0.1");
    let tls = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let tls_port = tls.local_addr().expect("it is bound").port();
    drop(tls);
    let node = Node::configured(|port| {
        let path = |name: &str| file(name).display().to_string();
        format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n",
            path("ca.pem"),
            path("server.pem"),
            path("server.key"),
        )
    });
    node.start_again();
    let port = node.amqp_port;
    let settings = |url: &str| {
        let mut settings = bench::settings(url);
        // Some editors save so.
        let marked = file("marked.pem");
        let authority = std::fs::read_to_string(file("ca.pem")).expect("it was made");
        std::fs::write(&marked, format!("\u{feff}{authority}")).expect("a copy");
        settings.tls_ca_file = Some(marked);
        settings
    };
    for (url, expected) in [
        (
            format!("amqps://guest:{PASSWORD}@127.0.0.1:{port}/%2f"),
            "for a port without TLS (most often 5672) amqp.url begins with amqp://",
        ),
        (
            format!("amqp://guest:{PASSWORD}@127.0.0.1:{tls_port}/%2f"),
            "for a port with TLS (most often 5671) amqp.url begins with amqps://",
        ),
        (
            format!("amqp://guest:guest@127.0.0.1:{port}/"),
            "amqp.url ends in a slash, which names a virtual host without a name",
        ),
        (format!("amqp://guest:guest@127.0.0.1:{port}/nope"), "no virtual host \"nope\", or"),
        (format!("amqp://guest:{PASSWORD}@127.0.0.1:{port}/%2f"), "the broker refuses the login"),
        (format!("amqp://guest:{PASSWORD}@127.0.0.1:1/%2f"), "no server listens there"),
        (format!("amqp://guest:{PASSWORD}@host.invalid/%2f"), "there is no such host"),
        (
            format!("amqps://guest:{PASSWORD}@localhost:{tls_port}/%2f"),
            "the broker's certificate is not for the host in amqp.url",
        ),
    ] {
        let error = connect(&settings(&url)).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains(PASSWORD), "{error}");
    }
    let url = format!("amqps://guest:guest@127.0.0.1:{tls_port}/%2f");
    let mut without_ca = settings(&url);
    without_ca.tls_ca_file = None;
    let error = connect(&without_ca)
        .await
        .expect_err("the certificate's issuer is not trusted")
        .to_string();
    assert!(error.contains("in amqp.ca_file"), "{error}");
    connect(&settings(&url)).await.expect("a byte order mark does no harm").close().await;
    let no_slash = format!("amqp://guest:guest@127.0.0.1:{port}");
    connect(&settings(&no_slash)).await.expect("the default virtual host").close().await;
}
