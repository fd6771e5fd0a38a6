//! What a message costs without any I/O: decoding, the rules, encoding.
//!
//! `cargo bench --bench pure` prints a figure a line: its name, a blank, its value. `--count N` only
//! takes N batches through all three: under callgrind the difference between two counts is what a
//! message takes in instructions. Without `--bench`, as `cargo
//! test --all-targets` runs it, one batch is taken through, so that it cannot rot.
//!
//! Sealing, which the stores do, is measured beside it: a kilobyte of live data.

#[path = "support/messages.rs"]
mod messages;

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use mimalloc::MiMalloc;
use throughline::domain::{Attempt, Identity, Rules, Step};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Decoded, Hints, body};
use throughline::pipeline::ports::Plaintext;
use throughline::pipeline::table::Table;
use throughline::settings::rules_file::{self, Document, Syntax};
use throughline::store::live_data::LiveKeys;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// As many messages as the worker takes at once by default.
const BATCH: usize = 200;

/// Samples of each figure. The least of them is told: nothing makes a batch faster than it is, and
/// whatever else the machine does makes it slower.
const SAMPLES: usize = 31;

/// When the messages are worked out.
const TIME: &str = "2026-11-21T09:15:27.481Z";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let bodies: Vec<_> = messages::bodies(BATCH).collect();
    let rules = compiled(messages::RULES);
    let count = arguments.iter().position(|argument| argument == "--count");
    if let Some(count) = count.and_then(|at| arguments.get(at + 1)) {
        for _ in 0..count.parse().expect("--count takes a number") {
            black_box(whole(&rules, &bodies));
        }
    } else if arguments.iter().any(|argument| argument == "--bench") {
        stages(&rules, &bodies);
        scales();
        seal();
    } else {
        assert_eq!(whole(&rules, &bodies), BATCH, "every message is published");
    }
}

/// The three stages of a batch, one by one and together.
fn stages(rules: &Rules, bodies: &[String]) {
    let bytes: usize = bodies.iter().map(String::len).sum();
    tell("body_bytes", bytes / BATCH);
    tell("decode_ns", per_message(|| drop(black_box(decode(bodies)))));
    let decoded = decode(bodies);
    tell("rules_ns", per_message(|| drop(black_box(take(rules, &decoded)))));
    let steps = take(rules, &decoded);
    tell("encode_ns", per_message(|| assert_eq!(encode(rules, &decoded, &steps), BATCH)));
    tell("pure_ns", per_message(|| assert_eq!(whole(rules, bodies), BATCH)));
}

/// What must not grow with the rules, and what may grow with the message's keys.
fn scales() {
    for widgets in [10, 1_000, 100_000] {
        let rules = compiled(&with_widgets(widgets));
        let of_widget =
            |body: String| body.replacen(r#""direction""#, r#""widget":"w-5","direction""#, 1);
        let bodies: Vec<_> = messages::bodies(BATCH).map(of_widget).collect();
        let name = format!("widgets_{widgets}_ns");
        tell(&name, per_message(|| assert_eq!(whole(&rules, &bodies), BATCH)));
    }
    let rules = compiled(messages::RULES);
    for keys in [1, 10, 100, 500] {
        let bodies: Vec<_> = (0..BATCH).map(|n| with_keys(n, keys)).collect();
        let name = format!("keys_{keys}_ns");
        tell(&name, per_message(|| assert_eq!(whole(&rules, &bodies), BATCH)));
    }
}

/// The seal of a kilobyte.
fn seal() {
    let keys = LiveKeys::new(&[7; 32], &[]);
    let plain = Plaintext(vec![b'x'; 1024]);
    let whose = Identity { tenant: "1".into(), id: "0000Wx0000000001".into() };
    let rows = || (0..BATCH).map(|_| (&whose, Some(&plain)));
    tell("seal_ns", per_message(|| drop(black_box(keys.seal(rows())))));
}

/// All three for one message after the other, as the worker does it: over one table, and what is
/// published of a message is let go before the next, so that memory is used again while it is warm.
/// The number of messages that are published.
fn whole(rules: &Rules, bodies: &[String]) -> usize {
    let mut table = Table::default();
    let stamp = Stamp { revision: rules.revision(), time: TIME, origins: true };
    let mut published = 0;
    for body in bodies {
        let decoded = decode_one(body);
        let step = table.take(rules, &decoded.message, Attempt::default());
        let encoded = enriched::encode(&decoded, &step, stamp);
        published += usize::from(black_box(encoded).is_some());
    }
    published
}

fn decode_one(body: &str) -> Decoded<'_> {
    let text = body::check(body.as_bytes(), usize::MAX).expect("the messages are JSON");
    let std::borrow::Cow::Borrowed(text) = text else { panic!("they are one line each") };
    let decoded = formats::decode(text, text.as_bytes(), Hints::default());
    decoded.expect("the messages are canonical")
}

fn decode(bodies: &[String]) -> Vec<Decoded<'_>> {
    bodies.iter().map(|body| decode_one(body)).collect()
}

fn take<'a>(rules: &'a Rules, decoded: &[Decoded<'a>]) -> Vec<Step<'a>> {
    let mut table = Table::default();
    decoded.iter().map(|decoded| table.take(rules, &decoded.message, Attempt::default())).collect()
}

fn encode(rules: &Rules, decoded: &[Decoded<'_>], steps: &[Step<'_>]) -> usize {
    let stamp = Stamp { revision: rules.revision(), time: TIME, origins: true };
    let published = decoded.iter().zip(steps);
    let published = published.filter_map(|(decoded, step)| enriched::encode(decoded, step, stamp));
    published.map(black_box).count()
}

/// The least time of a message, in nanoseconds, where `batch` takes [`BATCH`] of them.
fn per_message(mut batch: impl FnMut()) -> u128 {
    batch();
    let samples = (0..SAMPLES).map(|_| {
        let started = Instant::now();
        batch();
        started.elapsed().as_nanos()
    });
    samples.min().unwrap_or_default() / BATCH as u128
}

fn compiled(rules: &str) -> Rules {
    let document = Document::parse(rules, Syntax::Toml).expect("the rules are TOML");
    rules_file::compile(&document).expect("the rules are good").rules
}

/// The rules, with so many widgets that each have a set and a call target of their own.
fn with_widgets(count: usize) -> String {
    let widgets = (0..count).map(|n| {
        format!(
            "[[user_data_set]]\nname = \"S{n}\"\n[[user_data_set.key]]\nname = \"AccNum\"\n\
             [[widget]]\nid = \"w-{n}\"\nuser_data_set = \"S{n}\"\ncall_target = \"t-{n}\"\n\
             [[call_target]]\nid = \"t-{n}\"\n"
        )
    });
    messages::RULES.to_owned() + &widgets.collect::<String>()
}

/// A chat without a parent and with so many keys of 60 bytes each.
fn with_keys(n: usize, keys: usize) -> String {
    let mut body = format!(
        r#"{{"type":"interaction.created","id":"evt-k-{n:08}","interaction":{{"id":"0000Kx{n:010}","channel":"chat","userData":{{"#
    );
    for key in 0..keys {
        let comma = if key == 0 { "" } else { "," };
        write!(body, r#"{comma}"key-{key:04}":"a value of the usual length, as a form has it""#)
            .expect("a string takes all");
    }
    body.push_str("}}}");
    body
}

fn tell(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}
