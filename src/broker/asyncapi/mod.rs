//! What stands at the broker, as an AsyncAPI 3.0 document: exchanges, queues and their arguments from
//! the [`Topology`] in force, messages with their headers and bodies.
//!
//! Everything that may carry a secret stays out: of the URL only host and virtual host are shown.
//! `tests/it/schema.rs` compares the headers with those of real messages. Deliberately absent: queues
//! for published messages, which belong to their consumers.

mod messages;

use serde_json::{Map, Value, json};

use super::headers;
use super::topology::{Argument, Exchange, Queue};
use super::{Settings, Topology};
use crate::formats::schema;
use crate::json_schema::embedded;
use crate::pipeline::plan::outputs::Output;
use crate::pipeline::ports::PublishedKind;
use messages::{INBOUND, messages};

/// The version of AsyncAPI's bindings for AMQP 0-9-1.
const BINDING_VERSION: &str = "0.3.0";

/// The AsyncAPI document of these settings, with the outputs beside the enriched message.
pub fn asyncapi(settings: &Settings, topology: &Topology, outputs: &[Output]) -> Value {
    let mut document = Document::default();
    for exchange in &topology.exchanges {
        document.exchange(exchange, settings, topology);
    }
    for queue in &topology.queues {
        document.queue(queue, settings, topology);
    }
    for (place, output) in outputs.iter().enumerate() {
        document.output(place, output);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Throughline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What Throughline takes, gives and sets aside at RabbitMQ, under the settings \
                            in force. docs/messages.md says what the messages mean.",
            "license": { "name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "rabbitmq": server(&settings.url) },
        "channels": document.channels,
        "operations": document.operations,
        "components": {
            "messages": messages(),
            "schemas": {
                "inbound": embedded(schema::inbound(), "#/components/schemas/inbound"),
                "enriched": embedded(schema::enriched(), "#/components/schemas/enriched"),
            },
            "securitySchemes": { "login": { "type": "userPassword" } },
        },
    })
}

/// Where the broker is, without user, password and parameters.
fn server(url: &str) -> Value {
    let (protocol, rest) = url.split_once("://").unwrap_or(("amqp", ""));
    // Passwords may hold anything: whatever stands before the last `@` is none of the reader's.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split(['?', '#']).next().unwrap_or_default();
    let (host, vhost) = place.split_once('/').unwrap_or((place, "%2f"));
    json!({
        "host": host,
        "pathname": format!("/{vhost}"),
        "protocol": protocol,
        "protocolVersion": "0-9-1",
        "security": [{ "$ref": "#/components/securitySchemes/login" }],
    })
}

#[derive(Default)]
struct Document {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Document {
    fn exchange(&mut self, exchange: &Exchange, settings: &Settings, topology: &Topology) {
        let Exchange { name, kind, .. } = exchange;
        let bindings = exchange_bindings(name, kind);
        if *name == settings.dead_letters {
            let parameters = parameter("routingKey", "The routing key as first received.");
            let channel = self.channel(
                &format!("exchange_{name}"),
                "Where messages are set aside.",
                json!({ "address": "{routingKey}", "parameters": parameters, "bindings": bindings }),
                &["deadLetter"],
            );
            self.send(
                &format!("setAside_{name}"),
                &channel,
                &["deadLetter"],
                "Sets a message aside.",
            );
        } else if *name == settings.outbound_exchange {
            for (message, published) in
                [("enriched", PublishedKind::Enriched), ("ended", PublishedKind::Ended)]
            {
                let what = "The interaction's channel; characters outside [A-Za-z0-9_-] become _.";
                let channel = self.channel(
                    &format!("exchange_{name}_{message}"),
                    "Where interactions go out: bind a queue of your own.",
                    json!({
                        "address": format!("{}.{{channel}}", published.as_str()),
                        "parameters": parameter("channel", what),
                        "bindings": bindings,
                    }),
                    &[message],
                );
                let summary = match published {
                    PublishedKind::Enriched => "Publishes; that no queue is bound is a failure.",
                    PublishedKind::Ended => "Publishes; that no queue is bound is none.",
                };
                self.send(&format!("publish_{message}"), &channel, &[message], summary);
            }
        } else if topology.bindings.iter().any(|binding| binding.exchange == *name) {
            self.channel(
                &format!("exchange_{name}"),
                "Where interactions come in: publish here.",
                json!({
                    "address": "{routingKey}",
                    "parameters": parameter("routingKey", "One that a work queue is bound for."),
                    "bindings": bindings,
                }),
                &INBOUND,
            );
        }
    }

    fn queue(&mut self, queue: &Queue, settings: &Settings, topology: &Topology) {
        let Queue { name, arguments } = queue;
        let bound = topology.bindings.iter().filter(|binding| binding.queue == *name);
        let bound: Vec<_> = bound
            .map(|binding| json!({ "exchange": binding.exchange, "routingKey": binding.routing_key }))
            .collect();
        let body = json!({
            "address": name,
            "bindings": { "amqp": {
                "is": "queue",
                "queue": { "name": name, "durable": true, "exclusive": false, "autoDelete": false },
                "bindingVersion": BINDING_VERSION,
            } },
            "x-arguments": arguments.iter().map(|(key, value)| ((*key).to_owned(), match value {
                Argument::Text(text) => text.as_str().into(),
                Argument::Number(number) => Value::from(*number),
                Argument::Yes => true.into(),
            })).collect::<Map<_, _>>(),
            "x-bound-to": bound,
        });
        // A waiting queue leads to one queue by its arguments; nothing else has a key for that.
        let waits = arguments.iter().any(|(key, _)| *key == "x-dead-letter-routing-key");
        let key = format!("queue_{name}");
        if *name == settings.dead_letters {
            let channel = self.channel(&key, "What was set aside.", body, &["deadLetter"]);
            let what = "`throughline dead-letters` reads it.";
            self.receive(&format!("read_{name}"), &channel, &["deadLetter"], what);
        } else if waits {
            let what = "Messages that wait, until its TTL leads them back to their work queue.";
            let channel = self.channel(&key, what, body, &["waiting"]);
            self.send(&format!("wait_{name}"), &channel, &["waiting"], "Lets a message wait.");
        } else if settings.inbound().iter().any(|source| source.has_partition(name)) {
            let messages: Vec<_> = INBOUND.into_iter().chain(["waiting", "replayed"]).collect();
            let channel = self.channel(&key, "A partition.", body, &messages);
            self.receive(&format!("work_{name}"), &channel, &messages, "Works on messages.");
            let what = "Passes on what came by the intake.";
            self.send(&format!("pass_on_{name}"), &channel, &messages, what);
        } else {
            let messages: Vec<_> = INBOUND.into_iter().chain(["waiting", "replayed"]).collect();
            let channel = self.channel(&key, "The work queue.", body, &messages);
            self.receive(&format!("work_{name}"), &channel, &messages, "Works on messages.");
            let what = "`throughline dead-letters replay`, through the default exchange.";
            self.send(&format!("replay_{name}"), &channel, &["replayed"], what);
        }
    }

    /// A further output, which has its message beside it.
    fn output(&mut self, place: usize, output: &Output) {
        let template = output.routing_key.to_string();
        let placeholders = template.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let what = "Of the interaction; characters outside [A-Za-z0-9_-] become _.";
        let parameters: Map<_, _> =
            placeholders.map(|name| (name.to_owned(), json!({ "description": what }))).collect();
        let key = self.channel(
            &format!("output_{place}_{}", output.exchange),
            "Where interactions go out beside the enriched message.",
            json!({
                "address": template,
                "parameters": parameters,
                "bindings": exchange_bindings(&output.exchange, "topic"),
                "x-channels": output.channels,
            }),
            &[],
        );
        self.channels[&key]["messages"] = json!({ "output": messages::output(output.format) });
        let summary = match output.mandatory {
            true => "Publishes; that no queue is bound for an enriched one is a failure.",
            false => "Publishes; no queue need be bound.",
        };
        self.send(&format!("publish_output_{place}"), &key, &["output"], summary);
    }

    /// Adds a channel; gives the key it is found by.
    fn channel(&mut self, name: &str, title: &str, mut body: Value, messages: &[&str]) -> String {
        let key = key(name);
        body["description"] = title.into();
        let reference = |name: &&str| {
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            ((*name).to_owned(), reference)
        };
        body["messages"] = messages.iter().map(reference).collect::<Map<_, _>>().into();
        self.channels.insert(key.clone(), body);
        key
    }

    fn send(&mut self, name: &str, channel: &str, messages: &[&str], summary: &str) {
        let mut operation = operation("send", channel, messages, summary);
        operation["bindings"] = json!({ "amqp": {
            "deliveryMode": headers::PERSISTENT,
            "mandatory": true,
            "bindingVersion": BINDING_VERSION,
        } });
        self.operations.insert(key(name), operation);
    }

    fn receive(&mut self, name: &str, channel: &str, messages: &[&str], summary: &str) {
        let mut operation = operation("receive", channel, messages, summary);
        operation["bindings"] =
            json!({ "amqp": { "ack": true, "bindingVersion": BINDING_VERSION } });
        self.operations.insert(key(name), operation);
    }
}

fn exchange_bindings(name: &str, kind: &str) -> Value {
    json!({ "amqp": {
        "is": "routingKey",
        "exchange": { "name": name, "type": kind, "durable": true, "autoDelete": false },
        "bindingVersion": BINDING_VERSION,
    } })
}

fn operation(action: &str, channel: &str, messages: &[&str], summary: &str) -> Value {
    let of_channel =
        |message: &&str| json!({ "$ref": format!("#/channels/{channel}/messages/{message}") });
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": summary,
        "messages": messages.iter().map(of_channel).collect::<Vec<_>>(),
    })
}

fn parameter(name: &str, description: &str) -> Value {
    json!({ name: { "description": description } })
}

/// A name as a key of the document, where few characters may stand; any other becomes its code.
fn key(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars()
        .map(|c| if allowed(c) { c.to_string() } else { format!("_{:x}_", u32::from(c)) })
        .collect()
}
