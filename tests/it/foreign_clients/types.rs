//! Headers in every type in which clients write text: read where they hold text, and told where they do
//! not. Bodies in every encoding.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::formats::signature::SigningSecret;
use throughline::pipeline::ports::{Delivery as _, Settlement};

use crate::partitions::{partitioned, unpartitioned};
use crate::run::RULES;
use crate::support::bench::{
    Bench, declare_topology, headers, receive_batch, settle_all, with_bench,
};
use crate::support::program::{Worker, folder};
use crate::support::rabbitmq;

fn bytes(bytes: &[u8]) -> AMQPValue {
    AMQPValue::ByteArray(bytes.to_vec().into())
}

#[tokio::test]
async fn text_in_a_byte_array_is_text() {
    with_bench(rabbitmq::shared(), async |bench| {
        partitioned(bench, 2).await;
        let source = &mut bench.settings.sources[0];
        source.signing_secret = SigningSecret::new(b"foo_secret1234");
        source.partitions.as_mut().expect("it has some").header = Some("x-conversation".into());
        let (_link, mut lane) = bench.lane().await;
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let all = headers([
            ("traceparent", bytes(parent.as_bytes())),
            ("tracestate", bytes(b"v=1")),
            ("x-throughline-format", bytes(b"canonical")),
            ("x-throughline-widget", bytes("w-größe".as_bytes())),
            ("x-conversation", bytes(b"K")),
            ("cloudEvents:specversion", bytes(b"1.0")),
            ("cloudEvents:type", bytes(b"interaction.created")),
            ("x-sinch-webhook-signature", bytes(b"d0ZMzMyks0U1ajRl7oA3yyBMIoQOTuFosfwiLFuG/8A=")),
            ("x-sinch-webhook-signature-nonce", bytes(b"01FJA8B4A7BM43YGWSG9GBV067")),
            ("x-sinch-webhook-signature-timestamp", bytes(b"1634579353")),
            ("x-throughline-routing-key", bytes(b"first.key")),
        ]);
        let body = r#"{"app_id":"01APP"}"#;
        bench.send("k", BasicProperties::default().with_headers(all.clone()), body).await;
        // The same with one that holds no text, each time another one.
        let names = [
            ("x-throughline-format", Some("x-throughline-format")),
            ("x-throughline-widget", Some("x-throughline-widget")),
            ("cloudEvents:type", Some("cloudEvents:type")),
            ("x-sinch-webhook-signature", Some("x-sinch-webhook-signature")),
            ("x-conversation", None),
            ("traceparent", None),
        ];
        for (name, _) in names {
            let mut some = all.clone();
            some.insert(name.into(), bytes(b"gr\xf6\xdfe"));
            bench.send("k", BasicProperties::default().with_headers(some), body).await;
        }

        let batch = receive_batch(&mut lane, 1 + names.len()).await;
        let arrival = batch[0].arrival();
        assert_eq!(arrival.trace.parent.as_deref(), Some(parent));
        assert_eq!(arrival.trace.state.as_deref(), Some("v=1"));
        assert_eq!(arrival.format.as_deref(), Some("canonical"));
        assert_eq!(arrival.widget.as_deref(), Some("w-größe"));
        assert_eq!(arrival.conversation.as_deref(), Some("K"));
        assert_eq!(arrival.cloud_event.len(), 2);
        assert_eq!((arrival.is_forged, &arrival.unreadable), (false, &None));
        for (received, (name, unreadable)) in batch[1..].iter().zip(names) {
            let arrival = received.arrival();
            let expected = unreadable.map(|name| format!("the header `{name}` holds no text"));
            assert_eq!(arrival.unreadable, expected, "{name}");
            assert_eq!(arrival.is_forged, name == "x-sinch-webhook-signature");
        }
        assert_eq!(batch[5].arrival().conversation, None);
        assert_eq!(batch[6].arrival().trace.parent, None);
        settle_all(&mut lane, batch, Settlement::Acknowledge).await;
    })
    .await;
}

/// Publishes bytes as a vendor would.
async fn send(bench: &Bench, properties: BasicProperties, body: &[u8]) {
    let (exchange, options) =
        (bench.settings.inbound_exchange.as_str().into(), BasicPublishOptions::default());
    let sent = bench.channel.basic_publish(exchange, "k".into(), options, body, properties).await;
    assert!(sent.expect("published").await.expect("answered").is_ack());
}

fn created(id: &str) -> String {
    format!(
        r#"{{"type":"interaction.created","id":"{id}","interaction":{{"id":"{id}","channel":"chat"}}}}"#
    )
}

#[tokio::test]
async fn a_body_is_read_in_every_encoding_and_set_aside_as_received() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let published = bench.downstream("#", FieldTable::default()).await;
        let folder = folder();
        let settings = unpartitioned(bench);
        let more = [("THROUGHLINE_LIMITS__BODY_MAX_BYTES", "100000")];
        let worker = Worker::start(folder.path(), &settings, RULES, &more);
        let gzip = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).and_then(|()| encoder.finish()).expect("a vector takes it")
        };
        let zlib = |text: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).and_then(|()| encoder.finish()).expect("a vector takes it")
        };
        let none = BasicProperties::default;
        let encoded = |word: &str| none().with_content_encoding(word.into());
        send(bench, encoded("gzip"), &gzip(created("gzip").as_bytes())).await;
        send(bench, encoded("deflate"), &zlib(created("deflate").as_bytes())).await;
        let kombu = AMQPValue::LongString("application/x-gzip".into());
        let kombu = encoded("utf-8").with_headers(headers([("compression", kombu)]));
        send(bench, kombu, &zlib(created("kombu").as_bytes())).await;
        let text = created("section");
        assert_eq!(text.len(), 93);
        let section = [&[0x00, 0x53, 0x77, 0xb1, 0, 0, 0, 93][..], text.as_bytes()].concat();
        send(bench, none().with_type("amqp-1.0".into()), &section).await;
        // An event without an id is the same, however it was compressed.
        let nameless =
            r#"{"type":"interaction.updated","interaction":{"id":"gzip","userData":{"a":1}}}"#;
        send(bench, encoded("gzip"), &gzip(nameless.as_bytes())).await;
        send(bench, encoded("deflate"), &zlib(nameless.as_bytes())).await;
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 100_000);
        let refused: [(&str, &[u8], &str); 4] = [
            ("gzip", &bomb, "too_large"),
            ("gzip", &gzip(b"no JSON"), "not_json"),
            ("br", b"\x1b\x03\x00", "not_json"),
            ("utf-8", b"{\"a\":\"gr\xf6\xdfe\"}", "not_json"),
        ];
        for (word, body, _) in refused {
            send(bench, encoded(word), body).await;
        }

        let dead = bench.take(&bench.settings.dead_letters, refused.len()).await;
        for (letter, (word, body, reason)) in dead.iter().zip(refused) {
            assert!(letter.data == body, "{word}: as received");
            assert_eq!(*letter.properties.content_encoding(), Some(word.into()));
            let headers = letter.properties.headers().as_ref().expect("it has some").inner();
            let told = headers.get("x-throughline-reason");
            assert_eq!(told, Some(&AMQPValue::LongString(reason.into())), "{word}");
        }
        let taken = bench.take(&published, 5).await;
        let ids: Vec<Value> = taken
            .iter()
            .map(|one| serde_json::from_slice::<Value>(&one.data).expect("JSON"))
            .map(|body| body["interaction"]["id"].clone())
            .collect();
        assert_eq!(Value::from(ids), json!(["gzip", "deflate", "kombu", "section", "gzip"]));
        assert_eq!(worker.stop().code(), Some(0));
        assert_eq!(bench.ready(&published).await, 0, "the repeat is none of them");
    })
    .await;
}
