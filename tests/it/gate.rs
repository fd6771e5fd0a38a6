//! The status gate (G1 to G3): every answer that an endpoint can give, over real connections, and the
//! worker before an endpoint that hangs.

mod worker;

use std::time::Duration;

use throughline::domain::RoutingTarget;
use throughline::gate::{BaseUrl, Settings, StatusGate};
use throughline::pipeline::ports::{Gate, GateReason, GateReply, GateVerdict};

use crate::support::mindful::MindfulServer;
use crate::support::program::{folder, write};

fn settings(base_url: &str) -> Settings {
    Settings::new(BaseUrl::parse(base_url).expect("a base"))
}

async fn ask(settings: &Settings, widget: &str) -> GateVerdict {
    let gate = StatusGate::open(settings).expect("its files can be read");
    match gate.ask(widget) {
        GateReply::Now(verdict) => verdict,
        GateReply::Later(answer) => answer.await,
    }
}

#[tokio::test]
async fn every_state_is_published_and_two_offer_a_callback() {
    let mindful = MindfulServer::start().await;
    for (state, target) in [
        ("offer_callback", RoutingTarget::Callback),
        ("offer_asap_callback", RoutingTarget::Callback),
        ("offer_scheduled_callback", RoutingTarget::AgentQueue),
        ("closed", RoutingTarget::AgentQueue),
        ("some_state_of_next_year", RoutingTarget::AgentQueue),
    ] {
        let verdict = ask(&settings(&mindful.base_url), state).await;
        assert_eq!(verdict.routing.target, target, "{state}");
        assert_eq!(verdict.routing.widget_state.as_deref(), Some(state));
        assert_eq!(verdict.why, GateReason::Answered, "{state}");
    }
}

#[tokio::test]
async fn any_other_status_routes_to_the_agent_queue() {
    let mindful = MindfulServer::start().await;
    for (widget, why) in [
        ("404", GateReason::Status),
        ("401", GateReason::Status),
        ("500", GateReason::Status),
        ("503", GateReason::Status),
        ("201", GateReason::Status),
        ("206", GateReason::Status),
        ("moved", GateReason::Status),
        ("empty", GateReason::Unreadable),
        ("not-json", GateReason::Unreadable),
        ("no-data", GateReason::Unreadable),
        ("endless", GateReason::Unreadable),
        ("..", GateReason::Unreadable),
        ("cut", GateReason::Unreachable),
        ("closed-connection", GateReason::Unreachable),
        ("not-http", GateReason::Unreachable),
        ("silent", GateReason::Timeout),
        ("slow", GateReason::Timeout),
    ] {
        let mut settings = settings(&mindful.base_url);
        if why == GateReason::Timeout {
            settings.timeout = Duration::from_millis(50);
        }
        assert_eq!(ask(&settings, widget).await, GateVerdict::without_answer(why), "{widget}");
    }
    let followed = mindful.heads().iter().filter(|head| head.contains("offer_callback")).count();
    assert_eq!(followed, 0, "no redirect is followed");
}

#[tokio::test]
async fn unreachable_endpoint_routes_to_the_agent_queue() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = unused.local_addr().expect("it is bound").port();
    drop(unused);
    // The name is one that can never be had (RFC 2606).
    for base in [format!("http://127.0.0.1:{port}"), "https://mindful.invalid".to_owned()] {
        let verdict = ask(&settings(&base), "w").await;
        assert_eq!(verdict.routing.target, RoutingTarget::AgentQueue, "{base}");
        assert!(
            matches!(verdict.why, GateReason::Unreachable | GateReason::Timeout),
            "{base}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_for_its_host_and_by_its_authority() {
    let folder = folder();
    let (mindful, authority) = MindfulServer::with_certificate("127.0.0.1", folder.path()).await;
    let mut trusting = settings(&mindful.base_url);
    trusting.timeout = Duration::from_secs(60);
    let unknown_authority = ask(&trusting, "offer_callback").await;
    assert_eq!(unknown_authority, GateVerdict::without_answer(GateReason::Unreachable));
    trusting.ca_file = Some(authority);
    assert_eq!(ask(&trusting, "offer_callback").await.routing.target, RoutingTarget::Callback);

    let (mindful, authority) = MindfulServer::with_certificate("mindful.test", folder.path()).await;
    let mut wrong_host = settings(&mindful.base_url);
    wrong_host.timeout = Duration::from_secs(60);
    wrong_host.ca_file = Some(authority);
    let verdict = ask(&wrong_host, "offer_callback").await;
    assert_eq!(verdict, GateVerdict::without_answer(GateReason::Unreachable));
    assert!(mindful.heads().is_empty(), "nothing is asked, and no token is sent");
}

#[tokio::test]
async fn the_token_is_sent_as_its_file_has_it() {
    let mindful = MindfulServer::start().await;
    let folder = folder();
    let mut with_token = settings(&mindful.base_url);
    with_token.token_file = Some(write(folder.path(), "token", "t0k3n-4711\n"));
    assert!(!format!("{with_token:?}").contains("4711"));
    ask(&with_token, "closed").await;
    ask(&settings(&mindful.base_url), "closed").await;
    let [with, without] = &mindful.heads()[..] else { panic!("two requests") };
    assert!(with.contains("\r\nauthorization: Bearer t0k3n-4711\r\n"), "{with}");
    assert!(with.starts_with("GET /api/widget/closed HTTP/1.1\r\n"), "{with}");
    assert!(!without.contains("authorization"), "{without}");
}

#[tokio::test]
async fn unusable_files_are_named_without_their_content() {
    let folder = folder();
    let file = |name, text| Some(write(folder.path(), name, text));
    let base = settings("https://mindful.test");
    for (settings, expected) in [
        (Settings { token_file: file("empty", "\n"), ..base.clone() }, "empty): it is empty"),
        (
            Settings { token_file: file("two-lines", "hunter2\nhunter2"), ..base.clone() },
            "two-lines): it holds what no header can",
        ),
        (Settings { token_file: Some("absent".into()), ..base.clone() }, "(absent): "),
        (Settings { ca_file: Some("absent".into()), ..base.clone() }, "(absent): "),
        (
            Settings { ca_file: file("none.pem", "hunter2"), ..base },
            "none.pem): it holds no certificate",
        ),
    ] {
        let error = StatusGate::open(&settings).err().expect("it cannot be used").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
