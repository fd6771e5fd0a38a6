//! Several sources and several outputs on a real broker: everything comes from where it should, goes
//! where it should, and comes back to where it was. And every payload of `tests/fixtures`, through
//! `pipe` and through a live queue.

mod fixtures;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::broker::{Error, Inbound, Link, Topology};
use throughline::domain::RejectReason::NotJson;
use throughline::pipeline::ports::{Attempts, Delivery as _, Outgoing, Publisher, Settlement};
use throughline::retry::RetrySchedule;

use crate::support::bench::{
    Bench, WAITING_DELAY, headers, receive_batch, settle_all, text, with_bench,
};
use crate::support::program::{Worker, folder, run, stderr, stdout, write};
use crate::support::rabbitmq;

/// A source with names of the bench's own.
fn source(bench: &Bench, name: &str) -> Inbound {
    let settings = &bench.settings;
    let queue = format!("{}-{name}", settings.queue);
    Inbound {
        exchange: settings.inbound_exchange.clone(),
        routing_keys: vec![format!("{name}.#")],
        waiting_prefix: format!("{}{queue}.", settings.waiting_prefix),
        queue,
        partitions: None,
        prefetch_messages: 10,
        format: None,
        tenant: None,
        signing_secret: None,
    }
}

/// Gives the bench the two sources `a` and `b`, and further exchanges of these names.
fn two_sources(bench: &mut Bench, exchanges: &[&str]) {
    bench.settings.sources = vec![source(bench, "a"), source(bench, "b")];
    let further = exchanges.iter().map(|name| exchange(bench, name)).collect();
    bench.settings.further_exchanges = further;
    bench.topology = Topology::new(&bench.settings, &[WAITING_DELAY]);
}

/// Gives the bench the two sources and no further exchange, and has all of it declared.
async fn two_sources_declared(bench: &mut Bench) -> Link {
    two_sources(bench, &[]);
    let link = bench.link().await;
    link.prepare(&bench.topology).await.expect("declared");
    link
}

fn exchange(bench: &Bench, name: &str) -> String {
    format!("{}-{name}", bench.settings.outbound_exchange)
}

/// A queue that hears what goes to an exchange; it ends with the bench.
async fn listen(bench: &Bench, exchange: &str, routing_key: &str) -> String {
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let none = FieldTable::default();
    let queue = bench.channel.queue_declare("".into(), options, none.clone()).await;
    let queue = queue.expect("declared").name().clone();
    let options = QueueBindOptions::default();
    let (exchange, key) = (exchange.into(), routing_key.into());
    bench.channel.queue_bind(queue.clone(), exchange, key, options, none).await.expect("bound");
    queue.to_string()
}

fn header(delivery: &Delivery, name: &str) -> Option<String> {
    let value = delivery.properties.headers().as_ref()?.inner().get(name)?;
    value.as_long_string().map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned())
}

fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.data).expect("JSON")
}

/// The sections that a worker needs to run over the sources of a bench.
fn sections(bench: &Bench, more: [&str; 2]) -> String {
    let sources = bench.settings.sources.iter().zip(more);
    let of = |(source, more): (&Inbound, &str)| {
        let key = &source.routing_keys[0];
        format!("[[source]]\nqueue = '{}'\nrouting_keys = ['{key}']\n{more}\n", source.queue)
    };
    sources.map(of).collect()
}

#[tokio::test]
async fn messages_of_two_sources_are_published_to_every_output() {
    with_bench(rabbitmq::shared(), async |bench| {
        two_sources(bench, &["crm", "events", "unbound"]);
        bench.topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
        let [crm, events, unbound] = ["crm", "events", "unbound"].map(|name| exchange(bench, name));
        let settings = sections(
            bench,
            ["format = 'sinch-conversation'\ntenant = 'emea'\nlanes = 2", "tenant = 'apac'"],
        ) + &format!(
            "[[output]]\nexchange = '{crm}'\nrouting_key = 'c4c.{{channel}}.{{queue}}'\nformat = 'sap-c4c'\n\
             [[output]]\nexchange = '{crm}'\nrouting_key = 'xml.{{channel}}'\nformat = 'sap-c4c'\n\
             encoding = 'xml'\nchannels = ['voice']\n\
             [[output]]\nexchange = '{events}'\nrouting_key = '{{tenant}}'\nformat = 'cloud-event'\n\
             [[output]]\nexchange = '{unbound}'\nrouting_key = '{{id}}'\nformat = 'cloud-event-binary'\n\
             mandatory = false\n"
        );
        let folder = folder();
        let environment = |command: &[&str]| check(folder.path(), bench, command, &settings);

        // Nothing is there yet; then all of it is declared, and as it is needed.
        let missing = environment(&["topology", "declare"]);
        assert!(missing.contains("declared"), "{missing}");
        let shown = environment(&["topology", "show"]);
        assert_eq!(shown.trim(), bench.topology.to_string().trim());
        let compared = environment(&["check", "--connect"]);
        for queue in &bench.topology.queues {
            assert!(compared.contains(&format!("ok       queue `{}`", queue.name)), "{compared}");
        }
        assert!(!compared.contains("missing") && !compared.contains("differs"), "{compared}");

        let enriched = listen(bench, &bench.settings.outbound_exchange, "#").await;
        let [of_crm, of_events] =
            [listen(bench, &crm, "#").await, listen(bench, &events, "#").await];
        let worker = Worker::configured(folder.path(), &bench.settings, "", &settings);
        let sinch = include_str!("../fixtures/sinch-conversation.ndjson");
        let sinch = sinch.lines().next().expect("a line");
        let voice = json!({ "type": "interaction.created", "id": "e-2", "interaction": {
            "id": "i-2", "channel": "voice", "tenant": "own", "queue": "vip@acme.test",
            "userData": { "ANI": "0049 30 1234567", "no name": "<" } } });
        let chat = json!({ "type": "interaction.created", "id": "e-3", "interaction": {
            "id": "i-3", "channel": "chat" } });
        bench.send("a.in", BasicProperties::default(), sinch).await;
        bench.send("b.in", BasicProperties::default(), &voice.to_string()).await;
        bench.send("b.in", BasicProperties::default(), &chat.to_string()).await;

        let primary = bench.take(&enriched, 3).await;
        let by_tenant: BTreeMap<_, _> = primary
            .iter()
            .map(|message| (body(message)["interaction"]["tenant"].clone().to_string(), message))
            .collect();
        assert_eq!(by_tenant.keys().collect::<Vec<_>>(), ["\"apac\"", "\"emea\"", "\"own\""]);
        let of_sinch = body(by_tenant["\"emea\""]);
        assert_eq!(of_sinch["interaction"]["userData"]["customerType"], "gold");

        let told = bench.take(&of_crm, 4).await;
        let keys: BTreeSet<_> = told.iter().map(|it| it.routing_key.to_string()).collect();
        let expected = ["c4c.chat._", "c4c.voice.vip_acme_test", "c4c.whatsapp._", "xml.voice"];
        assert_eq!(keys.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        for message in &told {
            let is_xml = message.routing_key.as_str() == "xml.voice";
            let content_type = message.properties.content_type().as_ref().map(ToString::to_string);
            let expected = if is_xml { "application/xml" } else { "application/json" };
            assert_eq!(content_type.as_deref(), Some(expected));
            let left_out = header(message, "x-throughline-left-out");
            assert_eq!(left_out.as_deref(), is_xml.then_some("1"));
            if message.routing_key.as_str() == "c4c.voice.vip_acme_test" {
                assert_eq!(body(message)["payload"]["ANI"], "+49301234567");
            }
        }

        let events = bench.take(&of_events, 3).await;
        let mut ids = BTreeSet::new();
        for event in &events {
            let tenant = event.routing_key.to_string();
            let same = by_tenant[&format!("\"{tenant}\"")];
            // The same event, under a message id of its own.
            assert_eq!(body(event)["id"], body(same)["id"]);
            assert_eq!(body(event)["data"]["interaction"], body(same)["interaction"]);
            assert_eq!(event.properties.correlation_id(), same.properties.correlation_id());
            assert_eq!(event.properties.kind(), same.properties.kind());
        }
        for message in primary.iter().chain(&told).chain(&events) {
            let id = message.properties.message_id().clone().expect("it has one");
            assert!(ids.insert(id.to_string()), "each has its own");
        }
        // UUIDv5 of "sap-c4c\0json\0<exchange>\0<routing key as written>" in the namespace of the
        // enriched message's id, as docs/messages.md says.
        let namespace = by_tenant["\"own\""].properties.message_id().clone().expect("an id");
        let namespace: uuid::Uuid = namespace.as_str().parse().expect("a UUID");
        let name = format!("sap-c4c\0json\0{crm}\0c4c.{{channel}}.{{queue}}");
        let derived = uuid::Uuid::new_v5(&namespace, name.as_bytes()).to_string();
        assert!(ids.contains(&derived), "{derived} is none of {ids:?}");

        assert_eq!(worker.stop().code(), Some(0));
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0, "that output is not mandatory");
    })
    .await;
}

/// Runs a command over the names of a bench with a file of settings, and gives what it printed.
fn check(folder: &std::path::Path, bench: &Bench, command: &[&str], settings: &str) -> String {
    let ran = ran(folder, bench, command, settings);
    assert!(ran.status.success(), "{}{}", stdout(&ran), stderr(&ran));
    stdout(&ran)
}

fn ran(folder: &std::path::Path, bench: &Bench, command: &[&str], settings: &str) -> Output {
    let of = &bench.settings;
    let amqp = format!(
        "[amqp]\nurl = '{}'\nqueue = '{}'\ninbound_exchange = '{}'\noutbound_exchange = '{}'\n\
         dead_letters = '{}'\nwaiting_prefix = '{}'\n",
        of.url,
        of.queue,
        of.inbound_exchange,
        of.outbound_exchange,
        of.dead_letters,
        of.waiting_prefix
    );
    write(folder, "check.toml", &format!("{amqp}{settings}"));
    run(folder, &[command, &["--config", "check.toml"]].concat())
}

#[tokio::test]
async fn waiting_message_returns_to_its_own_queue() {
    with_bench(rabbitmq::shared(), async |bench| {
        let link = two_sources_declared(bench).await;
        let mut lanes = Vec::new();
        for source in link.sources() {
            lanes.push(link.lane_of(source).await.expect("a lane"));
        }
        for key in ["a.x", "b.x"] {
            bench.send(key, BasicProperties::default(), key).await;
        }
        for (lane, key) in lanes.iter_mut().zip(["a.x", "b.x"]) {
            let batch = receive_batch(lane, 1).await;
            assert_eq!(batch[0].body(), key.as_bytes());
            let attempts = Attempts { count: 1, ..Attempts::default() };
            let waiting = Outgoing::Waiting {
                delivery: &batch[0],
                awaited: None,
                delay: WAITING_DELAY,
                attempts,
            };
            lane.publisher.publish(&[waiting]).await.expect("published");
            settle_all(lane, batch, Settlement::Acknowledge).await;
        }
        for (lane, key) in lanes.iter_mut().zip(["a.x", "b.x"]) {
            let batch = receive_batch(lane, 1).await;
            assert_eq!(batch[0].body(), key.as_bytes(), "to where it was");
            assert_eq!(batch[0].arrival().attempts.count, 1);
            settle_all(lane, batch, Settlement::Acknowledge).await;
        }
    })
    .await;
}

/// Takes one message of each source, and sets it aside.
async fn set_aside_one_of_each(bench: &Bench, link: &Link) {
    for (source, key) in link.sources().iter().zip(["a.x", "b.x"]) {
        let mut lane = link.lane_of(source).await.expect("a lane");
        bench.send(key, BasicProperties::default().with_message_id(key.into()), key).await;
        let batch = receive_batch(&mut lane, 1).await;
        let dead = Outgoing::DeadLetter {
            delivery: &batch[0],
            reason: NotJson,
            detail: "a detail",
            stage: "decode",
            attempts: Attempts::default(),
        };
        lane.publisher.publish(&[dead]).await.expect("published");
        settle_all(&mut lane, batch, Settlement::Acknowledge).await;
    }
}

#[tokio::test]
async fn replay_returns_to_the_original_source() {
    with_bench(rabbitmq::shared(), async |bench| {
        let link = two_sources_declared(bench).await;
        set_aside_one_of_each(bench, &link).await;
        link.close().await;
        let link = bench.link().await;
        let mut pass = link.dead_letters().await.expect("a pass");
        while let Some(letter) = pass.next().await.expect("the broker is up") {
            pass.replay(letter).await.expect("replayed");
        }
        pass.finish().await.expect("the broker is up");
        for (source, key) in bench.settings.sources.iter().zip(["a.x", "b.x"]) {
            let [letter] = &bench.take(&source.queue, 1).await[..] else { panic!("one") };
            assert_eq!(letter.data, key.as_bytes());
            assert_eq!(header(letter, "x-throughline-routing-key").as_deref(), Some(key));
            assert_eq!(header(letter, "x-throughline-queue"), None, "a mark of the failure");
        }
    })
    .await;
}

/// Two dead letters that came by no source: one does not say by which queue, one by a foreign one.
async fn set_aside_two_strays(bench: &Bench) {
    let foreign = headers([("x-throughline-queue", text("foreign.queue"))]);
    for headers in [FieldTable::default(), foreign] {
        let (exchange, options) =
            (bench.settings.dead_letters.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default().with_headers(headers);
        let sent = bench.channel.basic_publish(exchange, "k".into(), options, b"x", properties);
        sent.await.expect("published").await.expect("confirmed");
    }
}

#[tokio::test]
async fn replay_continues_after_a_dead_letter_of_unknown_origin() {
    with_bench(rabbitmq::shared(), async |bench| {
        let link = two_sources_declared(bench).await;
        set_aside_two_strays(bench).await;
        set_aside_one_of_each(bench, &link).await;
        link.close().await;
        let folder = folder();
        let sections = sections(bench, ["", ""]);
        let ran = ran(folder.path(), bench, &["dead-letters", "replay", "--all"], &sections);
        let told = stderr(&ran);
        assert_eq!(ran.status.code(), Some(75), "{told}");
        assert!(told.contains("2 replayed") && told.contains("2 stay where they are"), "{told}");
        for source in &bench.settings.sources {
            assert_eq!(bench.ready(&source.queue).await, 1);
        }
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 2);
    })
    .await;
}

/// Any publisher can set a header; a replay never publishes to a queue that is no source's.
#[tokio::test]
async fn dead_letter_of_unknown_origin_is_kept() {
    with_bench(rabbitmq::shared(), async |bench| {
        let link = two_sources_declared(bench).await;
        set_aside_two_strays(bench).await;
        let mut pass = link.dead_letters().await.expect("a pass");
        for why in [
            "it does not say which source's queue it came from",
            "it came from `foreign.queue`, which is no source's queue",
        ] {
            let letter = pass.next().await.expect("the broker is up").expect("a dead letter");
            let error = pass.replay(letter).await.expect_err("its source is unknown");
            assert!(matches!(&error, Error::NoSource(said) if said == why), "{error}");
        }
        pass.finish().await.expect("the broker is up");
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 2);
    })
    .await;
}
