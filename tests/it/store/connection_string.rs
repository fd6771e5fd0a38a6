//! PostgreSQL's URL as others write it: with all that libpq takes, over a socket, and to a server that
//! cannot be written.

use std::io::Read as _;
use std::net::TcpListener;

use throughline::store::{self, OpenError, Settings};

use super::place::LIVE_KEYS;
use crate::support::postgres::{Database, number};

async fn connect(url: &str) -> Result<(), OpenError> {
    let settings = Settings { live_key: Some(LIVE_KEYS[0].to_owned()), ..Settings::new(url) };
    let store = store::connect(&settings).await?;
    store.close().await;
    Ok(())
}

/// The URL with further parameters.
fn with(url: &str, parameters: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{parameters}")
}

#[tokio::test]
async fn a_managed_servers_own_connection_string_is_taken() {
    let database = Database::create().await;
    for parameters in [
        "channel_binding=prefer&connect_timeout=10&target_session_attrs=read-write",
        "target_session_attrs=primary&gssencmode=disable&krbsrvname=postgres",
        "target_session_attrs=any&client_encoding=UTF8&sslnegotiation=postgres",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
        "application_name=a%20worker&options=-c%20work_mem%3D8MB&load_balance_hosts=random",
        "ssl_min_protocol_version=TLSv1.2&sslsni=1&tcp_user_timeout=0&connect_timeout=0",
    ] {
        let connected = connect(&with(&database.url, parameters)).await;
        connected.unwrap_or_else(|error| panic!("{parameters}: {error}"));
    }
    for (parameter, told) in [
        ("channel_binding=require", "its channel_binding cannot be required"),
        ("gssencmode=require", "its gssencmode cannot be required"),
        ("target_session_attrs=standby", "its target_session_attrs must be any, read-write or"),
        ("sslcrl=a.crl", "its sslcrl cannot be kept"),
        ("servic=planted", "a parameter, servic, that is none of libpq's"),
    ] {
        let error = connect(&with(&database.url, parameter)).await.expect_err(parameter);
        assert!(error.to_string().contains(told), "{parameter}: {error}");
        assert!(!error.is_transient() && !error.to_string().contains("planted"), "{error}");
    }
}

#[tokio::test]
async fn the_name_of_a_session_is_the_urls_or_the_fallback() {
    let database = Database::create().await;
    for (parameters, name) in [
        ("", "throughline"),
        ("fallback_application_name=a%2Fb", "a/b"),
        ("fallback_application_name=a&application_name=b", "b"),
    ] {
        let url = with(&database.url, parameters);
        let settings = Settings { live_key: Some(LIVE_KEYS[0].to_owned()), ..Settings::new(&url) };
        let store = store::connect(&settings).await.expect("a store");
        let sql = match name {
            "a/b" => "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a/b'",
            "b" => "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'b'",
            _ => "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'throughline'",
        };
        assert!(number(&database.url, sql).await > 0, "{parameters}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_written_is_told_where_one_that_can_is_asked_for() {
    let database = Database::create().await;
    let url = with(&database.url, "target_session_attrs=read-write");
    connect(&url).await.expect("it can be written");
    let read_only = with(&url, "options=-c%20default_transaction_read_only%3Don");
    let error = connect(&read_only).await.expect_err("it cannot be written");
    assert!(error.to_string().contains("target_session_attrs asks for one that"), "{error}");
    assert!(error.is_transient(), "another server may take its place");
}

/// PgBouncer refuses a login with a parameter that it does not know, and knows none but these.
#[tokio::test]
async fn a_login_asks_for_nothing_that_a_pooler_does_not_know() {
    const KNOWN: [&str; 6] =
        ["user", "database", "application_name", "client_encoding", "DateStyle", "TimeZone"];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let told = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("the store connects");
        let mut length = [0; 4];
        client.read_exact(&mut length).expect("a message has a length");
        let rest = u32::from_be_bytes(length).checked_sub(4).expect("its own length counts");
        let mut rest = vec![0; usize::try_from(rest).expect("it is short")];
        client.read_exact(&mut rest).expect("the message is whole");
        rest
    });
    connect(&format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable"))
        .await
        .expect_err("the listener does not answer");
    let told = told.join().expect("it has listened");
    // Behind the version of the protocol: names and values, each ended by a zero.
    let words: Vec<_> = told[4..].split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let names: Vec<_> = words.chunks(2).map(|pair| pair[0].as_ref()).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    assert!(names.contains(&"user") && names.contains(&"database"), "{names:?}");
    assert!(names.iter().all(|name| KNOWN.contains(name)), "{names:?}");
}
