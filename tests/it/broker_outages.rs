//! The broker adapter against a RabbitMQ that is down, killed, frozen or short of memory, or that
//! needs a configuration of its own. Each test has a private node.

use std::sync::Arc;

use lapin::{BasicProperties, Connection, ConnectionProperties};
use throughline::broker::{Health, Link, Settings, Supervisor, Topology};
use throughline::domain::RejectReason;
use throughline::pipeline::ports::{
    Attempts, Outgoing, PublishOutcome, Publisher, Settlement, Source,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::bench::{
    self, Bench, WAITING_DELAY, headers, published, receive_batch, settle_all, text, within_timeout,
};
use crate::support::certificates::certificate;
use crate::support::rabbitmq::Node;

fn supervisor(settings: Settings) -> Supervisor {
    let topology = Topology::new(&settings, &[WAITING_DELAY]);
    Supervisor::new(settings, topology)
}

/// Connections of this machine to the node that are open on our side.
fn open_connections(node: &Node) -> usize {
    /// `TCP_ESTABLISHED` in the kernel's table.
    const ESTABLISHED: &str = "01";
    let remote = format!("0100007F:{:04X}", node.amqp_port);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2] == remote && row[3] == ESTABLISHED).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn supervisor_reconnects_when_the_broker_returns() {
    let node = Arc::new(Node::prepare());
    let start = |node: &Arc<Node>| {
        let node = node.clone();
        tokio::task::spawn_blocking(move || node.start_again())
    };
    let mut supervisor = supervisor(bench::settings(&node.url));
    let mut health = supervisor.health();
    let shutdown = CancellationToken::new();

    let starting = start(&node);
    let link =
        within_timeout(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    within_timeout(starting).await.expect("it starts");
    within_timeout(health.wait_for(|health| *health == Health::Up))
        .await
        .expect("the sender is there");
    let mut lane = link.lane().await.expect("a lane");

    node.kill();
    within_timeout(lane.consumer.next_batch(1)).await.expect_err("the connection is lost");
    let lost = lane.publisher.publish(&[published("m-1", "chat")]).await;
    lost.expect_err("the connection is lost");
    within_timeout(health.wait_for(|health| *health == Health::Down))
        .await
        .expect("the sender is there");
    drop(link);

    let starting = start(&node);
    let link =
        within_timeout(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    within_timeout(starting).await.expect("it starts");
    let mut lane = link.lane().await.expect("a lane");
    let answers = within_timeout(lane.publisher.publish(&[published("m-1", "chat")])).await;
    assert_eq!(answers.expect("published"), [PublishOutcome::Returned]);
}

#[tokio::test]
async fn supervisor_stops_immediately_on_request() {
    let node = Node::prepare();
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(bench::settings(&node.url));
    let (link, ()) = tokio::join!(within_timeout(supervisor.connect(&shutdown)), async {
        tokio::task::yield_now().await;
        shutdown.cancel();
    });
    assert!(link.expect("settings").is_none());
}

#[tokio::test]
async fn unusable_settings_are_not_retried() {
    for url in ["not a url", "http://127.0.0.1"] {
        let mut supervisor = supervisor(bench::settings(url));
        let error = within_timeout(supervisor.connect(&CancellationToken::new())).await;
        assert!(error.expect_err("it is no broker's URL").is_final(), "{url}");
    }
}

#[tokio::test]
async fn frozen_broker_is_detected_and_abandoned() {
    let node = Node::start();
    let mut bench = Bench::connect(&node.url).await;
    // Short, but not for a machine that builds at the same time.
    bench.settings.heartbeat_secs = 2;
    bench.settings.confirm_timeout_ms = 3_000;
    bench.settings.answer_timeout_ms = 3_000;
    bench.settings.connect_timeout_ms = 3_000;
    let (link, mut lane) = bench.lane().await;
    let others = open_connections(&node) - 2;

    node.freeze();
    let error = within_timeout(lane.publisher.publish(&[published("m-1", "chat")])).await;
    let error = error.expect_err("no confirm arrives");
    assert_eq!(error.to_string(), "publish a batch: no answer in 3000 ms");
    within_timeout(lane.consumer.next_batch(1)).await.expect_err("the heartbeat is missed");
    drop(link);

    let health = watch::Sender::default();
    let error = within_timeout(Link::open(Arc::new(bench.settings.clone()), health)).await;
    error.expect_err("no response arrives");
    assert_eq!(open_connections(&node), others, "connections are left behind");
}

#[tokio::test]
async fn memory_alarm_is_reported_and_does_not_block_the_worker() {
    let node = Node::start();
    let mut settings = bench::settings(&node.url);
    settings.confirm_timeout_ms = 2_000;
    settings.answer_timeout_ms = 1_000;
    let mut supervisor = supervisor(settings);
    let mut health = supervisor.health();
    let shutdown = CancellationToken::new();
    let link =
        within_timeout(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    let mut lane = link.lane().await.expect("a lane");
    // The broker closes the channel that asks; the connections are as they were, and still watched.
    let depths = link.depths(vec!["nowhere".into()]).await.expect("answered");
    assert_eq!(depths, [("nowhere".to_owned(), None)]);

    node.control(&["set_vm_memory_high_watermark", "0.0000001"]);
    let batch = [published("m-1", "chat")];
    let (answer, blocked) = tokio::join!(
        within_timeout(lane.publisher.publish(&batch)),
        within_timeout(health.wait_for(|health| *health == Health::Blocked)),
    );
    drop(blocked.expect("the sender is there"));
    answer.expect_err("the broker takes nothing");
    within_timeout(link.close()).await;
    drop(lane);
    assert_eq!(open_connections(&node), 0, "connections are left behind");

    node.control(&["set_vm_memory_high_watermark", "0.4"]);
    let link =
        within_timeout(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    let mut lane = link.lane().await.expect("a lane");
    let answers = within_timeout(lane.publisher.publish(&batch)).await.expect("published");
    assert_eq!(answers, [PublishOutcome::Returned]);
}

#[tokio::test]
async fn tls_connection_verifies_both_certificates() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    certificate(directory.path(), "ca", None, "basicConstraints=critical,CA:TRUE");
    certificate(directory.path(), "server", Some("ca"), "subjectAltName=IP:127.0.0.1");
    certificate(directory.path(), "client", Some("ca"), "keyUsage=digitalSignature");
    let node = Node::configured(|port| {
        let path = |name: &str| file(name).display().to_string();
        format!(
            "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
            path("ca.pem"),
            path("server.pem"),
            path("server.key"),
        )
    });
    node.start_again();

    let mut settings = bench::settings(&node.url.replace("amqp://", "amqps://"));
    let connect = async |settings: &Settings| {
        within_timeout(Link::open(Arc::new(settings.clone()), watch::Sender::default())).await
    };
    connect(&settings).await.expect_err("the server's certificate is not trusted");
    settings.tls_ca_file = Some(file("ca.pem"));
    connect(&settings).await.expect_err("the server wants a certificate, too");
    settings.tls_cert_file = Some(file("client.pem"));
    let error = connect(&settings).await.expect_err("a certificate needs its key");
    assert!(error.is_final());
    settings.tls_key_file = Some(file("client.key"));
    connect(&settings).await.expect("both are content").close().await;
}

/// RabbitMQ closes the channel of a client that publishes with another user's `user_id`.
#[tokio::test]
async fn message_with_a_foreign_user_id_can_wait_and_be_dead_lettered() {
    let node = Node::start();
    node.control(&[
        "eval",
        r#"rabbit_auth_backend_internal:add_user(<<"vendor">>, <<"vendor">>, <<"test">>),
           rabbit_auth_backend_internal:set_permissions(
               <<"vendor">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)."#,
    ]);
    let mut bench = Bench::connect(&node.url).await;
    let (_link, mut lane) = bench.lane().await;
    let vendor = node.url.replace("guest:guest", "vendor:vendor");
    let vendor = Connection::connect(&vendor, ConnectionProperties::default()).await;
    let vendor = vendor.expect("the vendor may connect");
    let client =
        std::mem::replace(&mut bench.channel, vendor.create_channel().await.expect("a channel"));
    bench.channel.confirm_select(Default::default()).await.expect("confirms");
    bench.send("any", BasicProperties::default().with_user_id("vendor".into()), "1").await;
    bench.channel = client;

    let batch = receive_batch(&mut lane, 1).await;
    let copies = [
        Outgoing::Waiting {
            delivery: &batch[0],
            awaited: None,
            delay: WAITING_DELAY,
            attempts: Attempts::default(),
        },
        Outgoing::DeadLetter {
            delivery: &batch[0],
            reason: RejectReason::NotJson,
            detail: "a detail",
            stage: "decode",
            attempts: Attempts::default(),
        },
    ];
    let answers = within_timeout(lane.publisher.publish(&copies)).await.expect("published");
    assert_eq!(answers, [PublishOutcome::Confirmed, PublishOutcome::Confirmed]);
    settle_all(&mut lane, batch, Settlement::Acknowledge).await;
}

/// A quorum queue tells its publishers when it is full and when it has space again, but not when its
/// bound is removed: only a new channel learns of that.
#[tokio::test]
async fn publishing_resumes_after_a_queue_bound_is_removed() {
    const POLICY: &str = "full";
    let node = Node::start();
    let mut bench = Bench::connect(&node.url).await;
    let (_link, mut lane) = bench.lane().await;
    let queue = bench.downstream("#", headers([("x-queue-type", text("quorum"))])).await;
    let bound = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let pattern = format!("^{queue}$");
    node.control(&["set_policy", "--apply-to", "queues", POLICY, &pattern, bound]);
    let batch = [published("m-1", "chat")];
    let mut publish_until = async |answer| {
        within_timeout(async {
            while lane.publisher.publish(&batch).await.expect("published") != [answer] {}
        })
        .await;
    };
    publish_until(PublishOutcome::Refused).await;
    node.control(&["clear_policy", POLICY]);
    publish_until(PublishOutcome::Confirmed).await;
}
