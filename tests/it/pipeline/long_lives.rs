//! Conversations that go on: after days of silence, and for thousands of events.

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::pipeline::observe::labels::Outcome;
use throughline::settings::rules_file::{self, Document, Syntax};

use super::adapters::TestDelivery;
use super::{LaneBench, again, raw};

const DAY_MS: i64 = 86_400_000;

fn event(name: &'static str, kind: &str, pairs: &Value) -> TestDelivery {
    let body = json!({
        "type": format!("interaction.{kind}"),
        "id": name,
        "interaction": { "id": "it", "channel": "chat", "userData": pairs },
    });
    raw(name, &body.to_string())
}

fn bench() -> LaneBench {
    let rules = r#"{"history":{"chat":["plan","lang"]}}"#;
    let rules = Document::parse(rules, Syntax::Json).expect("JSON");
    let rules = rules_file::compile(&rules).expect("right rules").rules;
    LaneBench { rules, ..LaneBench::new() }
}

/// How many messages came to each of these outcomes in this run.
async fn outcomes(bench: &mut LaneBench, batch: Vec<TestDelivery>) -> Vec<(Outcome, u64)> {
    let before = bench.tally.counts();
    bench.run(vec![batch]).await.expect("the input ends");
    let after = bench.tally.counts();
    let all = [Outcome::Enriched, Outcome::Duplicate, Outcome::Ignored, Outcome::Ended];
    let came = all.map(|outcome| (outcome, after.of(outcome) - before.of(outcome)));
    came.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn what_has_expired_begins_anew_and_its_history_stays() {
    for kind in ["created", "opened"] {
        let mut bench = bench();
        let first =
            || event("1", "created", &json!({ "plan": "gold", "lang": "de", "key": "old" }));
        assert_eq!(outcomes(&mut bench, vec![first()]).await, [(Outcome::Enriched, 1)]);
        bench.now_ms += DAY_MS + 1;
        let late = event("2", "updated", &json!({ "plan": "late" }));
        assert_eq!(outcomes(&mut bench, vec![late]).await, [(Outcome::Ignored, 1)]);
        let anew = || event("3", kind, &json!({ "plan": "silver" }));
        assert_eq!(outcomes(&mut bench, vec![anew()]).await, [(Outcome::Enriched, 1)]);
        assert_eq!(bench.store.record("it"), r#"{"lang":"de","plan":"silver"}"#);
        assert_eq!(bench.store.ended_ms("it"), None);
        // Neither what was before nor what began it anew is taken again.
        let repeats = vec![first(), anew()];
        assert_eq!(outcomes(&mut bench, repeats).await, [(Outcome::Duplicate, 2)]);
        let update = event("4", "updated", &json!({ "plan": null }));
        let redelivered = again(anew(), 1, "refused");
        let came = outcomes(&mut bench, vec![update, redelivered]).await;
        assert_eq!(came, [(Outcome::Enriched, 2)]);
        assert_eq!(bench.store.record("it"), r#"{"lang":"de"}"#, "what was saved anew may go");
        let end = event("5", "ended", &json!({}));
        assert_eq!(outcomes(&mut bench, vec![end]).await, [(Outcome::Ended, 1)]);
        assert_eq!(bench.store.record("it"), r#"{"lang":"de"}"#);
        bench.now_ms += DAY_MS + 1;
        let after_end = event("6", kind, &json!({}));
        assert_eq!(outcomes(&mut bench, vec![after_end]).await, [(Outcome::Ignored, 1)]);
    }
}

#[tokio::test]
async fn what_the_cleaner_has_marked_as_expired_begins_anew_too() {
    let mut bench = bench();
    outcomes(&mut bench, vec![event("1", "created", &json!({ "plan": "gold" }))]).await;
    bench.store.expire("it", 500);
    let anew = event("2", "opened", &json!({ "lang": "en" }));
    assert_eq!(outcomes(&mut bench, vec![anew]).await, [(Outcome::Enriched, 1)]);
    assert_eq!(bench.store.record("it"), r#"{"plan":"gold","lang":"en"}"#);
    assert_eq!(bench.store.ended_ms("it"), None, "its next end counts");
}

#[tokio::test]
async fn a_long_conversation_keeps_a_small_row_and_knows_its_repeats() {
    let names: Vec<&'static str> = (0..500).map(|n| &*format!("{n}").leak()).collect();
    let mut bench = bench();
    outcomes(&mut bench, vec![event(names[0], "created", &json!({}))]).await;
    for some in names[1..].chunks(90) {
        let batch: Vec<_> = some.iter().map(|name| event(name, "updated", &json!({}))).collect();
        let came = outcomes(&mut bench, batch).await;
        assert_eq!(came, [(Outcome::Enriched, some.len() as u64)]);
        assert!(bench.store.log_bytes("it") <= 34 * 16);
    }
    for some in names.chunks(90) {
        let batch: Vec<_> = some.iter().map(|name| event(name, "updated", &json!({}))).collect();
        let came = outcomes(&mut bench, batch).await;
        assert_eq!(came, [(Outcome::Duplicate, some.len() as u64)]);
    }
    let unpublished = again(event(names[1], "updated", &json!({})), 1, "refused");
    assert_eq!(outcomes(&mut bench, vec![unpublished]).await, [(Outcome::Enriched, 1)]);
}
