//! PostgreSQL over TLS: a server with a certificate of a throw-away authority, and clients that trust
//! it or do not, and show one of their own or do not.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use throughline::store::{self, OpenError, Settings};

use super::place::LIVE_KEYS;
use crate::support::certificates::certificate;
use crate::support::postgres::Server;

/// What no error may tell.
const PASSWORD: &str = "hunter2-planted";

/// Who may come in, and how. `guest` needs nothing, `clerk` a password, `member` a certificate that
/// bears the name.
const ACCESS: &str = "
local all postgres trust
hostssl all guest 127.0.0.1/32 trust
hostssl all clerk 127.0.0.1/32 scram-sha-256
hostssl all member 127.0.0.1/32 trust clientcert=verify-full
hostnossl all all 127.0.0.1/32 trust
";

/// A server that also listens on a port, without TLS as yet.
async fn server(files: &Path) -> (Server, u16) {
    certificate(files, "ca", None, "basicConstraints=critical,CA:TRUE");
    certificate(files, "stranger", None, "basicConstraints=critical,CA:TRUE");
    certificate(files, "server", Some("ca"), "subjectAltName=DNS:localhost");
    certificate(files, "member", Some("ca"), "keyUsage=digitalSignature");
    certificate(files, "impostor", Some("stranger"), "keyUsage=digitalSignature");
    let server = Server::start();
    let sql =
        "CREATE ROLE guest LOGIN; CREATE ROLE member LOGIN; CREATE ROLE clerk LOGIN PASSWORD 'x'";
    server.execute(sql).await;
    let data = server.files().join("data");
    let owner = std::fs::metadata(&data).expect("a cluster");
    for name in ["ca.pem", "server.pem", "server.key"] {
        let copy = data.join(name);
        std::fs::copy(files.join(name), &copy).expect("a copy");
        std::fs::set_permissions(&copy, Permissions::from_mode(0o600)).expect("ours");
        chown(&copy, Some(owner.uid()), Some(owner.gid()))
            .expect("the server's user owns its files");
    }
    let mut access = File::create(data.join("pg_hba.conf")).expect("it can be written");
    access.write_all(ACCESS.as_bytes()).expect("it can be written");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    server.stop();
    configure(&server, &format!("listen_addresses = '127.0.0.1'\nport = {port}\n"));
    server.start_again();
    (server, port)
}

fn configure(server: &Server, lines: &str) {
    let file = server.files().join("data/postgresql.conf");
    let file = OpenOptions::new().append(true).open(file);
    file.expect("the server has one").write_all(lines.as_bytes()).expect("it can be written");
}

/// Connects once; what it fails to do, if anything, must not hold the password.
async fn connect(url: &str) -> Result<(), OpenError> {
    let settings = Settings { live_key: Some(LIVE_KEYS[0].to_owned()), ..Settings::new(url) };
    let opened = store::open(&settings).await;
    if let Err(error) = &opened {
        let told = format!("{error} {error:?}");
        assert!(!told.contains(PASSWORD), "{told}");
    }
    let store = opened?;
    store.ping().await.expect("it answers");
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn tls_verifies_server_and_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path();
    let file = |name: &str| files.join(name).display().to_string();
    let (server, port) = server(files).await;
    let url = |user: &str, host: &str, parameters: &str| {
        format!("postgres://{user}:{PASSWORD}@{host}:{port}/postgres?{parameters}")
    };
    let ca = format!("sslrootcert={}", file("ca.pem"));
    let full = format!("sslmode=verify-full&{ca}");
    let as_client = |name: &str| {
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        format!("{full}&sslcert={cert}&sslkey={key}")
    };

    // A server without TLS, which only some modes put up with.
    connect(&url("guest", "localhost", "sslmode=prefer")).await.expect("TLS is not asked for");
    let error = connect(&url("guest", "localhost", &full)).await.expect_err("TLS is asked for");
    assert!(error.is_transient() && error.to_string().contains("does not support TLS"), "{error}");

    server.stop();
    configure(&server, "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n");
    configure(&server, "ssl_ca_file = 'ca.pem'\n");
    server.start_again();

    for (user, host, parameters) in [
        ("guest", "localhost", full.clone()),
        ("guest", "127.0.0.1", format!("sslmode=verify-ca&{ca}")),
        ("guest", "127.0.0.1", format!("sslmode=require&{ca}")),
        ("guest", "localhost", "sslmode=require".to_owned()),
        ("member", "localhost", as_client("member")),
    ] {
        let connected = connect(&url(user, host, &parameters)).await;
        connected.unwrap_or_else(|error| panic!("{user} at {host}, {parameters}: {error}"));
    }

    let stranger = format!("sslrootcert={}", file("stranger.pem"));
    let system = "sslmode=verify-full".to_owned();
    let untrusted = "from an authority that is not trusted: name the file";
    for (user, host, parameters, expected) in [
        ("guest", "localhost", format!("sslmode=verify-full&{stranger}"), untrusted),
        ("guest", "localhost", format!("sslmode=verify-ca&{stranger}"), untrusted),
        // The driver alone would trust any certificate here.
        ("guest", "localhost", format!("sslmode=require&{stranger}"), untrusted),
        ("guest", "localhost", system, untrusted),
        ("guest", "127.0.0.1", full.clone(), "not for the host that store.url names"),
        ("member", "localhost", full.clone(), "(sslcert, sslkey) if it asks for one"),
        ("member", "localhost", as_client("impostor"), "does not accept the client's certificate"),
        ("clerk", "localhost", full.clone(), "the server refuses the password (SQLSTATE 28P01)"),
        ("unknown", "localhost", full.clone(), "the server refuses the login: look at the user"),
    ] {
        let error = connect(&url(user, host, &parameters)).await.expect_err(&parameters);
        let told = error.to_string();
        assert!(told.contains(expected), "{user} at {host}, {parameters}: {told}");
        assert!(error.is_transient(), "the other side may change: {told}");
    }
}

#[tokio::test]
async fn unusable_tls_settings_are_refused_before_connecting() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name).display().to_string();
    certificate(directory.path(), "ca", None, "basicConstraints=critical,CA:TRUE");
    std::fs::write(file("locked.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").expect("written");
    let (pem, key, locked) = (file("ca.pem"), file("ca.key"), file("locked.key"));
    let missing = file("missing.pem");
    for (parameters, expected) in [
        ("sslmode=verify-ful".to_owned(), "its sslmode is none of"),
        (
            "pasword=hunter2-planted".to_owned(),
            "it has a parameter, pasword, that is none of libpq's",
        ),
        (format!("sslmode=verify-full&sslrootcert={missing}"), "cannot be read: No such file"),
        (format!("sslmode=verify-full&sslrootcert={key}"), "holds no certificate"),
        (format!("sslmode=verify-full&sslcert={pem}"), "needs sslkey beside it"),
        (format!("sslmode=verify-full&sslkey={key}"), "needs sslcert beside it"),
        (format!("sslmode=verify-full&sslcert={pem}&sslkey={pem}"), "holds no unencrypted"),
        (format!("sslmode=verify-full&sslcert={pem}&sslkey={locked}"), "holds no unencrypted"),
        (format!("sslrootcert={pem}"), "say sslmode=verify-full"),
        (format!("sslmode=prefer&sslcert={pem}&sslkey={key}"), "say sslmode=verify-full"),
    ] {
        // No server listens on port 1.
        let url = format!("postgres://u:{PASSWORD}@localhost:1/d?{parameters}");
        let error = connect(&url).await.expect_err(&parameters);
        assert!(error.to_string().contains(expected), "{parameters}: {error}");
        assert!(!error.is_transient(), "{parameters}: {error}");
    }
}
