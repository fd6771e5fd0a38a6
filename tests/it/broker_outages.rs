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

use crate::support::bench::{self, Bench, DELAY, headers, next, published, settle, soon, text};
use crate::support::certificates::certificate;
use crate::support::rabbitmq::Node;

fn supervisor(settings: Settings) -> Supervisor {
    let topology = Topology::of(&settings, &[DELAY]);
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
async fn the_supervisor_waits_for_a_broker_and_for_its_return() {
    let node = Arc::new(Node::prepare());
    let start = |node: &Arc<Node>| {
        let node = node.clone();
        tokio::task::spawn_blocking(move || node.start_again())
    };
    let mut supervisor = supervisor(bench::settings(&node.url));
    let mut health = supervisor.health();
    let shutdown = CancellationToken::new();

    let starting = start(&node);
    let link = soon(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    soon(starting).await.expect("it starts");
    soon(health.wait_for(|health| *health == Health::Up)).await.expect("the sender is there");
    let mut lane = link.lane().await.expect("a lane");

    node.kill();
    soon(lane.consumer.next_batch(1)).await.expect_err("the connection is lost");
    let lost = lane.publisher.publish(&[published("m-1", "chat")]).await;
    lost.expect_err("the connection is lost");
    soon(health.wait_for(|health| *health == Health::Down)).await.expect("the sender is there");
    drop(link);

    let starting = start(&node);
    let link = soon(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    soon(starting).await.expect("it starts");
    let mut lane = link.lane().await.expect("a lane");
    let answers = soon(lane.publisher.publish(&[published("m-1", "chat")])).await;
    assert_eq!(answers.expect("published"), [PublishOutcome::Returned]);
}

#[tokio::test]
async fn the_supervisor_stops_at_once_when_told_to() {
    let node = Node::prepare();
    let shutdown = CancellationToken::new();
    let mut supervisor = supervisor(bench::settings(&node.url));
    let (link, ()) = tokio::join!(soon(supervisor.connect(&shutdown)), async {
        tokio::task::yield_now().await;
        shutdown.cancel();
    });
    assert!(link.expect("settings").is_none());
}

#[tokio::test]
async fn settings_that_cannot_work_are_not_tried_again() {
    for url in ["not a url", "http://127.0.0.1"] {
        let mut supervisor = supervisor(bench::settings(url));
        let error = soon(supervisor.connect(&CancellationToken::new())).await;
        assert!(error.expect_err("it is no broker's URL").is_final(), "{url}");
    }
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_and_left_behind() {
    let node = Node::start();
    let mut bench = Bench::at(&node.url).await;
    // Short, but not for a machine that builds at the same time.
    bench.settings.heartbeat_secs = 2;
    bench.settings.confirm_timeout_ms = 3_000;
    bench.settings.answer_timeout_ms = 3_000;
    bench.settings.connect_timeout_ms = 3_000;
    let (link, mut lane) = bench.lane().await;
    let others = open_connections(&node) - 2;

    node.freeze();
    let error = soon(lane.publisher.publish(&[published("m-1", "chat")])).await;
    let error = error.expect_err("nobody confirms");
    assert_eq!(error.to_string(), "publish a batch: no answer in 3000 ms");
    soon(lane.consumer.next_batch(1)).await.expect_err("the heartbeat is missed");
    drop(link);

    let health = watch::Sender::default();
    let error = soon(Link::open(Arc::new(bench.settings.clone()), health)).await;
    error.expect_err("nobody answers");
    assert_eq!(open_connections(&node), others, "connections are left behind");
}

#[tokio::test]
async fn a_memory_alarm_is_seen_and_does_not_hang_the_worker() {
    let node = Node::start();
    let mut settings = bench::settings(&node.url);
    settings.confirm_timeout_ms = 2_000;
    settings.answer_timeout_ms = 1_000;
    let mut supervisor = supervisor(settings);
    let mut health = supervisor.health();
    let shutdown = CancellationToken::new();
    let link = soon(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    let mut lane = link.lane().await.expect("a lane");
    // The broker closes the channel that asks; the connections are as they were, and still watched.
    let depths = link.depths(vec!["nowhere".into()]).await.expect("answered");
    assert_eq!(depths, [("nowhere".to_owned(), None)]);

    node.control(&["set_vm_memory_high_watermark", "0.0000001"]);
    let batch = [published("m-1", "chat")];
    let (answer, blocked) = tokio::join!(
        soon(lane.publisher.publish(&batch)),
        soon(health.wait_for(|health| *health == Health::Blocked)),
    );
    drop(blocked.expect("the sender is there"));
    answer.expect_err("the broker takes nothing");
    soon(link.close()).await;
    drop(lane);
    assert_eq!(open_connections(&node), 0, "connections are left behind");

    node.control(&["set_vm_memory_high_watermark", "0.4"]);
    let link = soon(supervisor.connect(&shutdown)).await.expect("settings").expect("a link");
    let mut lane = link.lane().await.expect("a lane");
    let answers = soon(lane.publisher.publish(&batch)).await.expect("published");
    assert_eq!(answers, [PublishOutcome::Returned]);
}

#[tokio::test]
async fn over_tls_both_sides_show_their_certificates() {
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
        soon(Link::open(Arc::new(settings.clone()), watch::Sender::default())).await
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

/// RabbitMQ closes the channel of whoever publishes under another user's `user_id`.
#[tokio::test]
async fn another_users_message_can_wait_and_be_set_aside() {
    let node = Node::start();
    node.control(&[
        "eval",
        r#"rabbit_auth_backend_internal:add_user(<<"vendor">>, <<"vendor">>, <<"test">>),
           rabbit_auth_backend_internal:set_permissions(
               <<"vendor">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)."#,
    ]);
    let mut bench = Bench::at(&node.url).await;
    let (_link, mut lane) = bench.lane().await;
    let vendor = node.url.replace("guest:guest", "vendor:vendor");
    let vendor = Connection::connect(&vendor, ConnectionProperties::default()).await;
    let vendor = vendor.expect("the vendor may connect");
    let client =
        std::mem::replace(&mut bench.channel, vendor.create_channel().await.expect("a channel"));
    bench.channel.confirm_select(Default::default()).await.expect("confirms");
    bench.send("any", BasicProperties::default().with_user_id("vendor".into()), "1").await;
    bench.channel = client;

    let batch = next(&mut lane, 1).await;
    let copies = [
        Outgoing::Waiting {
            delivery: &batch[0],
            awaited: None,
            delay: DELAY,
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
    let answers = soon(lane.publisher.publish(&copies)).await.expect("published");
    assert_eq!(answers, [PublishOutcome::Confirmed, PublishOutcome::Confirmed]);
    settle(&mut lane, batch, Settlement::Acknowledge).await;
}

/// A quorum queue tells whoever publishes to it when it is full, and again when it is not; but not
/// when it is its bound that has gone. Then only another channel learns of it.
#[tokio::test]
async fn a_full_queue_whose_bound_is_taken_off_is_published_to_again() {
    const POLICY: &str = "full";
    let node = Node::start();
    let mut bench = Bench::at(&node.url).await;
    let (_link, mut lane) = bench.lane().await;
    let queue = bench.downstream("#", headers([("x-queue-type", text("quorum"))])).await;
    let bound = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let pattern = format!("^{queue}$");
    node.control(&["set_policy", "--apply-to", "queues", POLICY, &pattern, bound]);
    let batch = [published("m-1", "chat")];
    let mut publish_until = async |answer| {
        soon(async {
            while lane.publisher.publish(&batch).await.expect("published") != [answer] {}
        })
        .await;
    };
    publish_until(PublishOutcome::Refused).await;
    node.control(&["clear_policy", POLICY]);
    publish_until(PublishOutcome::Confirmed).await;
}
