//! What a message costs without any I/O: decoding, the rules, encoding, and, beside them, the seal of
//! the stores. Each figure is of a batch of 200 messages, in time and in allocations:
//!
//! ```text
//! cargo bench --bench pure            # all of them
//! cargo bench --bench pure -- decode  # those of this name
//! ```
//!
//! The minimum is the figure to compare: other load on the machine only makes a batch slower.
//!
//! `--count N` only takes N batches through all three stages: under callgrind the difference between two
//! counts is what they take in instructions. Without `--bench`, as `cargo test --all-targets` runs it,
//! one batch is taken through, so that it cannot rot.

#[path = "support/messages.rs"]
mod messages;

use std::fmt::Write;
use std::hint::black_box;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use mimalloc::MiMalloc;
use throughline::domain::{Attempt, Identity, Rules, Step};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Decoded, Hints, body};
use throughline::pipeline::ports::Plaintext;
use throughline::pipeline::save::table::InteractionTable;
use throughline::settings::rules_file::{self, Document, Syntax};
use throughline::store::live_data::LiveKeys;

/// As the program has it, and counted. Counting costs a hundredth of the time.
#[global_allocator]
static ALLOCATOR: AllocProfiler<MiMalloc> = AllocProfiler::new(MiMalloc);

/// As many messages as the worker takes at once by default.
const BATCH: usize = 200;

/// When the messages are worked out.
const TIME: &str = "2026-11-21T09:15:27.481Z";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let count = arguments.iter().position(|argument| argument == "--count");
    if let Some(count) = count.and_then(|at| arguments.get(at + 1)) {
        let (rules, bodies) = usual();
        for _ in 0..count.parse().expect("--count takes a number") {
            black_box(whole(&rules, &bodies));
        }
    } else if arguments.iter().any(|argument| argument == "--bench") {
        divan::main();
    } else {
        let (rules, bodies) = usual();
        assert_eq!(whole(&rules, &bodies), BATCH, "every message is published");
    }
}

/// The rules and the messages that everything is measured with.
fn usual() -> (Rules, Vec<String>) {
    (compiled(messages::RULES), messages::bodies(BATCH).collect())
}

/// The three stages of a batch, together and one by one.
#[divan::bench_group(sample_count = 31, sample_size = 1)]
mod stages {
    use super::*;

    #[divan::bench]
    fn pure(bencher: Bencher<'_, '_>) {
        let (rules, bodies) = usual();
        of_batch(bencher, || assert_eq!(whole(&rules, &bodies), BATCH));
    }

    #[divan::bench]
    fn decode(bencher: Bencher<'_, '_>) {
        let (_, bodies) = usual();
        of_batch(bencher, || drop(black_box(super::decode(&bodies))));
    }

    #[divan::bench]
    fn rules(bencher: Bencher<'_, '_>) {
        let (rules, bodies) = usual();
        let decoded = super::decode(&bodies);
        of_batch(bencher, || drop(black_box(take(&rules, &decoded))));
    }

    #[divan::bench]
    fn encode(bencher: Bencher<'_, '_>) {
        let (rules, bodies) = usual();
        let decoded = super::decode(&bodies);
        let steps = take(&rules, &decoded);
        of_batch(bencher, || assert_eq!(super::encode(&rules, &decoded, &steps), BATCH));
    }

    /// A kilobyte of live data.
    #[divan::bench]
    fn seal(bencher: Bencher<'_, '_>) {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let plain = Plaintext(vec![b'x'; 1024]);
        let whose = Identity { tenant: "1".into(), id: "0000Wx0000000001".into() };
        let rows = || (0..BATCH).map(|_| (&whose, Some(&plain)));
        of_batch(bencher, || drop(black_box(keys.seal(rows()))));
    }
}

/// Costs that must not grow with the rules, and costs that may grow with the message's keys.
#[divan::bench_group(sample_count = 31, sample_size = 1)]
mod scales {
    use super::*;

    #[divan::bench(args = [10, 1_000, 100_000])]
    fn widgets(bencher: Bencher<'_, '_>, widgets: usize) {
        let rules = compiled(&with_widgets(widgets));
        let of_widget =
            |body: String| body.replacen(r#""direction""#, r#""widget":"w-5","direction""#, 1);
        let bodies: Vec<_> = messages::bodies(BATCH).map(of_widget).collect();
        of_batch(bencher, || assert_eq!(whole(&rules, &bodies), BATCH));
    }

    #[divan::bench(args = [1, 10, 100, 500])]
    fn keys(bencher: Bencher<'_, '_>, keys: usize) {
        let rules = compiled(messages::RULES);
        let bodies: Vec<_> = (0..BATCH).map(|n| with_keys(n, keys)).collect();
        of_batch(bencher, || assert_eq!(whole(&rules, &bodies), BATCH));
    }
}

/// Measures what takes [`BATCH`] messages through.
fn of_batch(bencher: Bencher<'_, '_>, batch: impl FnMut()) {
    bencher.counter(ItemsCount::new(BATCH)).bench_local(batch);
}

/// All three for one message after the other, as the worker does it: over one table, and the output
/// of a message is freed before the next, so that memory is reused while it is cached.
/// The number of messages that are published.
fn whole(rules: &Rules, bodies: &[String]) -> usize {
    let mut table = InteractionTable::for_messages(BATCH);
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
    let mut table = InteractionTable::for_messages(BATCH);
    decoded.iter().map(|decoded| table.take(rules, &decoded.message, Attempt::default())).collect()
}

fn encode(rules: &Rules, decoded: &[Decoded<'_>], steps: &[Step<'_>]) -> usize {
    let stamp = Stamp { revision: rules.revision(), time: TIME, origins: true };
    let published = decoded.iter().zip(steps);
    let published = published.filter_map(|(decoded, step)| enriched::encode(decoded, step, stamp));
    published.map(black_box).count()
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
