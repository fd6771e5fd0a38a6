//! Signatures of webhooks, at a live queue that asks for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use pretty_assertions::assert_eq;
use ring::hmac;
use serde_json::json;
use throughline::broker::Topology;
use throughline::retry::RetrySchedule;

use super::{body, header, listen, sections, two_sources};
use crate::support::bench::{headers, text, with_bench};
use crate::support::program::{Worker, folder, write};
use crate::support::rabbitmq;

const SECRET: &str = "s3cret-of-sinch";
const NONCE: &str = "01FJA8B4A7BM43YGWSG9GBV067";
const TIME: u64 = 1_634_579_353;

fn signature(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    BASE64.encode(hmac::sign(&key, format!("{body}.{NONCE}.{TIME}").as_bytes()))
}

fn message(id: &str) -> String {
    json!({ "type": "interaction.created", "id": id,
            "interaction": { "id": id, "channel": "chat", "userData": { "k": "v" } } })
    .to_string()
}

/// What a gateway makes of a webhook.
fn signed(
    id: &str,
    signature: Option<&str>,
    names: [&'static str; 3],
    time: AMQPValue,
) -> BasicProperties {
    let signature = signature.map(|signature| (names[0], text(signature)));
    let rest = [(names[1], text(NONCE)), (names[2], time)];
    let headers = headers(rest.into_iter().chain(signature));
    BasicProperties::default().with_message_id(id.into()).with_headers(headers)
}

const SHORT: [&str; 3] =
    ["x-sinch-webhook-signature", "x-sinch-webhook-nonce", "x-sinch-webhook-timestamp"];
const VENDORS: [&str; 3] = [
    "X-Sinch-Webhook-Signature",
    "X-Sinch-Webhook-Signature-Nonce",
    "X-Sinch-Webhook-Signature-Timestamp",
];

#[tokio::test]
async fn unsigned_messages_are_dead_lettered() {
    with_bench(rabbitmq::shared(), async |bench| {
        two_sources(bench, &[]);
        bench.topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
        let folder = folder();
        let secret = write(folder.path(), "secret", &format!("{SECRET}\n"));
        let asks = format!("signature_secret_file = '{}'", secret.display());
        let settings = sections(bench, [&asks, ""]);
        let link = bench.link().await;
        link.prepare(&bench.topology).await.expect("declared");
        let enriched = listen(bench, &bench.settings.outbound_exchange, "#").await;

        let digits = || text(&TIME.to_string());
        let right = |id: &str| signature(&message(id));
        for (id, properties) in [
            ("good-1", signed("good-1", Some(&right("good-1")), SHORT, digits())),
            ("good-2", signed("good-2", Some(&right("good-2")), VENDORS, digits())),
            // A client that knows what a time is.
            (
                "good-3",
                signed("good-3", Some(&right("good-3")), VENDORS, AMQPValue::Timestamp(TIME)),
            ),
            ("bad-1", signed("bad-1", None, SHORT, digits())),
            ("bad-2", signed("bad-2", Some(&right("another")), SHORT, digits())),
            ("bad-3", signed("bad-3", Some(&right("bad-3")[..40]), SHORT, digits())),
            ("bad-4", signed("bad-4", Some(&right("bad-4")), SHORT, text("1634579354"))),
            ("bad-5", BasicProperties::default().with_message_id("bad-5".into())),
        ] {
            bench.send("a.in", properties, &message(id)).await;
        }
        // The other source does not ask.
        bench.send("b.in", BasicProperties::default(), &message("good-4")).await;

        let worker = Worker::configured(folder.path(), &bench.settings, "", &settings);
        let mut good: Vec<_> = bench
            .take(&enriched, 4)
            .await
            .iter()
            .map(|it| body(it)["interaction"]["id"].as_str().expect("an id").to_owned())
            .collect();
        good.sort();
        assert_eq!(good, ["good-1", "good-2", "good-3", "good-4"]);
        let dead = bench.take(&bench.settings.dead_letters, 5).await;
        for (n, letter) in dead.iter().enumerate() {
            assert_eq!(*letter.properties.message_id(), Some(format!("bad-{}", n + 1).into()));
            assert_eq!(header(letter, "x-throughline-reason").as_deref(), Some("bad_signature"));
            assert_eq!(header(letter, "x-throughline-stage").as_deref(), Some("decode"));
            let queue = &bench.settings.sources[0].queue;
            assert_eq!(header(letter, "x-throughline-queue").as_ref(), Some(queue));
        }
        let log = worker.log();
        assert!(!log.contains("s3cret") && !log.contains(&right("bad-4")), "{log}");
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}
