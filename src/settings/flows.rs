//! Sources and outputs: `[[source]]` and `[[output]]`.
//!
//! Without a `[[source]]`, `[amqp]` describes the one there is. An `[[output]]` is always beside the
//! enriched message, never instead of it. What would make a message come twice, come back to us, or
//! lie in a queue that is used for something else is refused here, before anything is declared.

use std::collections::BTreeSet;
use std::fs;

use super::Settings;
use super::amqp::{AMQP_NAME_MAX_BYTES, Amqp, WAITING_PREFIX_MAX_BYTES};
use super::raw::Raw;

use super::tables::Table;
use crate::domain::byte_order_mark::bytes_without_mark;
use crate::formats::outbound::{OutboundFormat, Prefix};
use crate::formats::signature::SigningSecret;
use crate::json_schema;
use crate::pipeline::plan::outputs::Output;
use crate::pipeline::routing_key::KeyTemplate;

/// One work queue (`[[source]]`).
#[derive(Clone, Debug)]
pub struct Source {
    /// The work queue.
    pub queue: String,
    /// The topic exchange it is bound to.
    pub exchange: String,
    /// For which routing keys; none: it is not bound by us.
    pub routing_keys: Vec<String>,
    /// The prefix of the names of its waiting queues.
    pub waiting_prefix: String,
    /// How many lanes consume it.
    pub lanes: usize,
    /// Deliveries ahead of their acknowledgement, on each lane.
    pub prefetch_messages: u16,
    /// The format of all messages; none: recognised by their shape.
    pub format: Option<String>,
    /// The tenant of interactions whose message names none.
    pub tenant: Option<String>,
    /// The secret that every message must be signed with.
    pub signing_secret: Option<SigningSecret>,
}

impl Source {
    /// The one source that `[amqp]` describes.
    pub(super) fn from_amqp(amqp: &Amqp, lanes: usize) -> Source {
        Source {
            queue: amqp.queue.clone(),
            exchange: amqp.inbound_exchange.clone(),
            routing_keys: vec!["#".to_owned()],
            waiting_prefix: amqp.waiting_prefix.clone(),
            lanes,
            prefetch_messages: amqp.prefetch_messages,
            format: amqp.format.clone(),
            tenant: None,
            signing_secret: None,
        }
    }

    /// The problems of this source beside the `earlier` ones: each invalid member, and the reason.
    fn problems(&self, amqp: &Amqp, earlier: &[Source]) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.queue.is_empty() {
            // Named already.
            return problems;
        }
        let mut wrong = |member, what: String| problems.push((member, what));
        if self.waiting_prefix.len() > WAITING_PREFIX_MAX_BYTES {
            wrong("queue", "is too long for the names of its waiting queues".to_owned());
        }
        if self.queue == amqp.dead_letters {
            wrong("queue", "is the queue of dead letters".to_owned());
        } else if self.queue.starts_with(&amqp.waiting_prefix) {
            wrong("queue", "begins as the waiting queues do (amqp.waiting_prefix)".to_owned());
        }
        if let Some(place) = earlier.iter().position(|other| other.queue == self.queue) {
            wrong("queue", format!("is the queue of source[{place}], too"));
            return problems;
        }
        if self.routing_keys.iter().any(|key| key.is_empty() || key.len() > AMQP_NAME_MAX_BYTES) {
            wrong("routing_keys", "holds a key that has not 1 to 255 bytes".to_owned());
        }
        let shares = |other: &Source| {
            let both = |mine: &String| other.routing_keys.iter().any(|key| overlap(mine, key));
            other.exchange == self.exchange && self.routing_keys.iter().any(both)
        };
        if let Some(place) = earlier.iter().position(shares) {
            let what =
                format!("share keys with source[{place}]: a message would be in both queues");
            wrong("routing_keys", what);
        }
        problems
    }
}

/// A `[[source]]` as written; members that it leaves out come from `[amqp]` and `lanes`.
pub(super) struct WrittenSource {
    queue: String,
    exchange: Option<String>,
    routing_keys: Vec<String>,
    lanes: Option<usize>,
    prefetch_messages: Option<u16>,
    /// `auto` is `Some(None)`: no format, even if `amqp.format` names one.
    format: Option<Option<String>>,
    tenant: Option<String>,
    signing_secret: Option<SigningSecret>,
}

impl WrittenSource {
    /// All that are written.
    pub(super) fn read_all(raw: &mut Raw) -> Vec<WrittenSource> {
        raw.tables("source", |table| WrittenSource {
            queue: table.name("queue", AMQP_NAME_MAX_BYTES),
            exchange: table.optional_name("exchange", AMQP_NAME_MAX_BYTES),
            routing_keys: table.texts("routing_keys"),
            lanes: table.integer("lanes", 1..=64),
            prefetch_messages: table.integer("prefetch_messages", 1..=65_535),
            format: table.format("format"),
            tenant: table.optional_name("tenant", AMQP_NAME_MAX_BYTES),
            signing_secret: read_secret(table),
        })
    }

    /// The sources, each filled up, and checked against those before it.
    pub(super) fn fill(
        written: Vec<WrittenSource>,
        raw: &mut Raw,
        amqp: &Amqp,
        lanes: usize,
    ) -> Vec<Source> {
        let mut sources = Vec::with_capacity(written.len());
        for (place, written) in written.into_iter().enumerate() {
            let source = Source {
                waiting_prefix: format!("{}{}.", amqp.waiting_prefix, written.queue),
                queue: written.queue,
                exchange: written.exchange.unwrap_or_else(|| amqp.inbound_exchange.clone()),
                routing_keys: written.routing_keys,
                lanes: written.lanes.unwrap_or(lanes),
                prefetch_messages: written.prefetch_messages.unwrap_or(amqp.prefetch_messages),
                format: written.format.unwrap_or_else(|| amqp.format.clone()),
                tenant: written.tenant,
                signing_secret: written.signing_secret,
            };
            for (member, what) in source.problems(amqp, &sources) {
                let origin = raw.origin("source");
                raw.problem_at(format!("source[{place}].{member}"), origin, what);
            }
            sources.push(source);
        }
        sources
    }
}

/// The secret in the file that is named, without a newline at its end.
fn read_secret(table: &mut Table<'_>) -> Option<SigningSecret> {
    let file = table.path("signature_secret_file")?;
    match fs::read(&file) {
        Ok(bytes) => {
            let bytes = bytes_without_mark(&bytes);
            let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
            let secret = SigningSecret::new(&bytes[..end.map_or(0, |last| last + 1)]);
            if secret.is_none() {
                table.problem("signature_secret_file", format!("{} is empty", file.display()));
            }
            secret
        }
        Err(error) => {
            let what = format!("{} cannot be read: {error}", file.display());
            table.problem("signature_secret_file", what);
            None
        }
    }
}

/// Whether there is a routing key that both patterns of a topic exchange match: `*` is a word, `#` any
/// number of words.
fn overlap(a: &str, b: &str) -> bool {
    fn words(a: &[&str], b: &[&str]) -> bool {
        match (a, b) {
            ([], []) => true,
            (["#", rest @ ..], other) | (other, ["#", rest @ ..]) => {
                (0..=other.len()).any(|taken| words(rest, &other[taken..]))
            }
            ([one, a @ ..], [other, b @ ..]) => {
                (one == other || *one == "*" || *other == "*") && words(a, b)
            }
            ([], _) | (_, []) => false,
        }
    }
    let [a, b] = [a, b].map(|pattern| {
        let mut words: Vec<&str> = pattern.split('.').collect();
        // Several `#` in a row are one, and would only make the walk long.
        words.dedup_by(|one, other| *one == "#" && *other == "#");
        words
    });
    words(&a, &b)
}

/// Refuses an outbound exchange from which what we publish would come back to us, or be a dead letter.
/// One exchange may serve both ways where the work queues' own keys leave ours out.
pub(super) fn check_outbound(raw: &mut Raw, amqp: &Amqp, sources: &[Source]) {
    let comes_back = |source: &Source| {
        source.exchange == amqp.outbound_exchange
            && source.routing_keys.iter().any(|key| overlap(key, PUBLISHED_KEYS))
    };
    let what = if amqp.outbound_exchange == amqp.dead_letters {
        "is the exchange of dead letters"
    } else if sources.iter().any(comes_back) {
        "is one that interactions come in by: they would come again"
    } else {
        return;
    };
    raw.problem("amqp.outbound_exchange", what);
}

/// Refuses an exchange of dead letters that a source consumes from, and an `amqp.queue` that is the queue
/// of dead letters. A `[[source]]` checks its own queue in [`Source::problems`].
pub(super) fn check_dead_letters(raw: &mut Raw, amqp: &Amqp, sources: &[Source]) {
    if sources.iter().any(|source| source.exchange == amqp.dead_letters) {
        let what = "is an exchange that interactions come in by: they would come again";
        raw.problem("amqp.dead_letters", what);
    }
    let [Source { queue, .. }] = sources else { return };
    if *queue == amqp.queue && *queue == amqp.dead_letters {
        raw.problem("amqp.queue", "is the queue of dead letters");
    }
}

/// The pattern of the routing keys that enriched interactions and ends go out with
/// ([`Published::routing_key`](crate::pipeline::ports::Published::routing_key)).
const PUBLISHED_KEYS: &str = "interaction.*.#";

/// All `[[output]]`s that are written.
pub(super) fn read_outputs(raw: &mut Raw, amqp: &Amqp, sources: &[Source]) -> Vec<Output> {
    let mut outputs: Vec<Option<Output>> = Vec::new();
    raw.tables("output.further", |table| {
        let exchange = table.name("exchange", AMQP_NAME_MAX_BYTES);
        if exchange == amqp.dead_letters {
            table.problem("exchange", "is the exchange of dead letters");
        } else if sources.iter().any(|source| source.exchange == exchange) {
            let what = "is one that interactions come in by: they would come again";
            table.problem("exchange", what);
        }
        let output = read_output(table, exchange);
        let name = output.as_ref().map(Output::name);
        let same =
            |other: &Option<Output>| name.is_some() && other.as_ref().map(Output::name) == name;
        if let Some(place) = outputs.iter().position(same) {
            table.problem("", format!("has exchange, routing key and format of output[{place}]"));
        }
        outputs.push(output);
    });
    outputs.into_iter().flatten().collect()
}

fn read_output(table: &mut Table<'_>, exchange: String) -> Option<Output> {
    let written = table.name("routing_key", AMQP_NAME_MAX_BYTES);
    let routing_key = match KeyTemplate::parse(&written) {
        Ok(template) => Some(template),
        // It is missing, or no text, and has been named.
        Err(_) if written.is_empty() => None,
        Err(error) => {
            table.problem("routing_key", error.to_string());
            None
        }
    };
    let channels = table.texts("channels");
    let format = read_outbound_format(table);
    let format = read_prefix(table, format);
    let mandatory = table.boolean("mandatory").unwrap_or(true);
    Some(Output { exchange, routing_key: routing_key?, channels, format: format?, mandatory })
}

fn read_outbound_format(table: &mut Table<'_>) -> Option<OutboundFormat> {
    let names = "`enriched`, `cloud-event`, `cloud-event-binary` or `sap-c4c`";
    let is_known = |name: &str| OutboundFormat::ALL.iter().any(|format| format.words().0 == name);
    // Each once, though some have several encodings.
    let known: BTreeSet<_> = OutboundFormat::ALL.iter().map(|format| format.words().0).collect();
    let words = json_schema::words(known);
    let name = table
        .text_of_schema("format", names, words, |name| is_known(name).then(|| name.to_owned()));
    let words = json_schema::words(["json", "xml"]);
    let encoding = table.text_of_schema("encoding", "`json` or `xml`", words, |encoding| {
        matches!(encoding, "json" | "xml").then(|| encoding.to_owned())
    });
    let Some(name) = name else {
        table.missing("format");
        return None;
    };
    let mut of_name = OutboundFormat::ALL.into_iter().filter(|format| format.words().0 == name);
    match encoding {
        // The first is the usual one.
        None => of_name.next(),
        Some(encoding) => {
            let found = of_name.find(|format| format.words().1 == Some(&encoding));
            if found.is_none() {
                table.problem("encoding", format!("is not for the format `{name}`"));
            }
            found
        }
    }
}

/// The format with the prefix that is written for it.
fn read_prefix(table: &mut Table<'_>, format: Option<OutboundFormat>) -> Option<OutboundFormat> {
    let names = "`cloudEvents:`, `cloudEvents_` or `ce-`";
    let words = json_schema::words(Prefix::ALL.map(Prefix::as_str));
    let prefix = table.text_of_schema("prefix", names, words, |word| {
        Prefix::ALL.into_iter().find(|prefix| prefix.as_str() == word)
    });
    match (format, prefix) {
        (Some(OutboundFormat::CloudEventBinary(_)), Some(prefix)) => {
            Some(OutboundFormat::CloudEventBinary(prefix))
        }
        (Some(other), Some(_)) => {
            table.problem("prefix", format!("is not for the format `{}`", other.words().0));
            Some(other)
        }
        (format, _) => format,
    }
}

impl Settings {
    /// The work queues in force, one at least. With partitions, each has a lane for every one.
    pub fn sources(&self) -> Vec<Source> {
        let mut sources = match self.source.is_empty() {
            true => vec![Source::from_amqp(&self.amqp, self.lanes)],
            false => self.source.clone(),
        };
        if self.partitions.count > 0 {
            let lanes = usize::from(self.partitions.count);
            sources.iter_mut().for_each(|source| source.lanes = lanes);
        }
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_where_one_key_matches_both() {
        for (a, b, expected) in [
            ("#", "#", true),
            ("#", "a.b", true),
            ("a.#", "a", true),
            ("a.#", "b.#", false),
            ("a.*", "a", false),
            ("a.*", "*.b", true),
            ("#.a", "b.#", true),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("*", "a.b", false),
            ("#.#.#.a", "#.#.b", false),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
    }
}
