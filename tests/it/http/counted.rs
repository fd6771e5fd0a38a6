//! Metrics: every message is accounted for, and the list of them is the one that is documented.

use std::collections::{BTreeMap, BTreeSet};

use lapin::BasicProperties;
use lapin::types::FieldTable;
use pretty_assertions::assert_eq;

use crate::support::bench::{self, declare_topology};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::program::folder;
use crate::support::rabbitmq;

const RULES: &str = r#"
[copy_user_data]
value = "rule"
[parents]
unknown = "dead_letter"
"#;

const OPERATING: &str = include_str!("../../../docs/operating.md");

/// The sum of all samples of a counter.
fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    let prefix = format!("{name}{{");
    let of_name = |sample: &&String| *sample == name || sample.starts_with(&prefix);
    metrics.iter().filter(|(sample, _)| of_name(sample)).map(|(_, value)| value).sum()
}

#[tokio::test]
async fn every_received_message_is_counted() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        // No queue is bound for the channel `voice`.
        let downstream = bench.downstream("interaction.*.chat", FieldTable::default()).await;
        let folder = folder();
        let short = [
            ("THROUGHLINE_WAITING__PARENT_SECS", "1"),
            ("THROUGHLINE_WAITING__UNKNOWN_SECS", "1"),
            ("THROUGHLINE_WAITING__UNROUTABLE_SECS", "1"),
            ("THROUGHLINE_LANES", "2"),
        ];
        let watched = MonitoredWorker::start(folder.path(), &bench.settings, RULES, &short).await;
        watched.await_missing(vec![]).await;
        let send = async |body: &str| bench.send("any", BasicProperties::default(), body).await;
        let create = r#"{"type":"interaction.created","id":"1","time":"2026-11-21T09:15:27Z","interaction":{"id":"A","channel":"chat"}}"#;
        send(create).await;
        bench.take(&downstream, 1).await;
        for body in [
            // The same event again.
            create,
            r#"{"type":"interaction.ended","id":"2","interaction":{"id":"A"}}"#,
            // The end of an unknown interaction.
            r#"{"type":"interaction.ended","id":"3","interaction":{"id":"unknown"}}"#,
            r#"{"type":"interaction.updated","id":"4","interaction":{"id":"unknown","userData":{}}}"#,
            r#"{"type":"interaction.created","id":"5","interaction":{"id":"C","channel":"chat","parentId":"P"}}"#,
            r#"{"type":"interaction.created","id":"6","interaction":{"id":"V","channel":"voice"}}"#,
            "no JSON",
            r#"{"type":"interaction.created","id":"7","interaction":{"id":"X"}}"#,
        ] {
            send(body).await;
        }
        let outcome = |word: &str| format!("throughline_finished_total{{outcome=\"{word}\"}}");
        let set_aside =
            |reason: &str| format!("throughline_dead_lettered_total{{reason=\"{reason}\"}}");
        let expected: BTreeMap<_, _> = [
            (outcome("enriched"), 1.0),
            (outcome("ended"), 1.0),
            (outcome("ignored"), 1.0),
            (outcome("duplicate"), 1.0),
            (outcome("dead_lettered"), 5.0),
            (outcome("requeued"), 0.0),
            (outcome("given_back"), 0.0),
            (set_aside("interaction_unknown"), 1.0),
            (set_aside("parent_unknown"), 1.0),
            (set_aside("unroutable"), 1.0),
            (set_aside("not_json"), 1.0),
            (set_aside("not_an_interaction"), 1.0),
        ]
        .into();
        let metrics = poll_until_some(async || {
            let metrics = watched.metrics().await;
            expected.iter().all(|(name, value)| metrics.get(name) == Some(value)).then_some(metrics)
        });
        let metrics = metrics.await;
        let waits = metrics[&outcome("waiting")];
        assert!(waits >= 4.0, "each of the four waited: {waits}");
        assert_eq!(sum(&metrics, "throughline_waited_total"), waits);
        assert_eq!(metrics["throughline_retried_total"], waits, "all have come back");
        assert_eq!(sum(&metrics, "throughline_received_total"), 9.0 + waits);
        assert_eq!(sum(&metrics, "throughline_finished_total"), 9.0 + waits, "none is unaccounted for");
        assert_eq!(sum(&metrics, "throughline_lane_in_hand"), 0.0);
        assert_eq!(sum(&metrics, "throughline_dead_lettered_total"), 5.0);
        assert_eq!(sum(&metrics, "throughline_rejected_total"), 5.0);
        let published = |kind: &str, answer: &str| {
            metrics[&format!("throughline_published_total{{kind=\"{kind}\",answer=\"{answer}\"}}")]
        };
        assert_eq!(published("enriched", "confirmed"), 1.0);
        assert_eq!(published("ended", "confirmed"), 1.0);
        assert_eq!(published("waiting", "confirmed"), waits);
        assert_eq!(published("dead_letter", "confirmed"), 5.0);
        assert!(published("enriched", "returned") >= 2.0, "at first, and after each wait");
        assert_eq!(sum(&metrics, "throughline_latency_seconds_count"), 1.0, "one said when it was sent");
        assert_eq!(metrics["throughline_lanes"], 2.0);
        for stage in ["decode", "read", "apply", "save", "publish", "settle"] {
            let count = format!("throughline_stage_duration_seconds_count{{stage=\"{stage}\"}}");
            assert!(metrics[&count] > 0.0, "{stage}");
        }
        assert_eq!(watched.worker.stop().code(), Some(0));
    })
    .await;
}

/// A family of metrics: its name as samples have it, its type, and its labels.
type MetricFamily = (String, String, String);

#[tokio::test]
async fn the_documented_metrics_are_those_that_are_printed() {
    let folder = folder();
    // No server listens on port 1.
    let settings = bench::settings("amqp://guest:guest@127.0.0.1:1/%2f");
    let watched = MonitoredWorker::start(folder.path(), &settings, RULES, &[]).await;
    let answer = watched.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).expect("UTF-8");
    assert!(text.ends_with("# EOF\n"), "it is whole");
    assert_eq!(printed(&text), documented(OPERATING));
    assert_eq!(watched.worker.stop().code(), Some(0));
}

fn printed(text: &str) -> BTreeSet<MetricFamily> {
    let helps = text.lines().filter(|line| line.starts_with("# HELP ")).count();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families = types.map(|line| {
        let (family, kind) = line.split_once(' ').expect("a name and a type");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(family).filter(|_| !line.starts_with('#'))?;
            let (suffix, labels) = rest.split_once('}')?.0.split_once('{')?;
            let own = ["", "_total", "_info", "_bucket"].contains(&suffix);
            own.then(|| {
                let names = labels.split(',').filter_map(|label| label.split_once('='));
                let names = names.map(|(name, _)| name).filter(|name| *name != "le");
                names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            })
        });
        let labels: BTreeSet<_> = labels.collect();
        assert!(labels.len() <= 1, "{family} has one set of labels: {labels:?}");
        let labels = labels.into_iter().next().unwrap_or_default();
        (format!("{family}{suffix}"), kind.to_owned(), labels)
    });
    let families: BTreeSet<_> = families.collect();
    assert_eq!(families.len(), helps, "each has its help, and none is there twice");
    families
}

fn documented(text: &str) -> BTreeSet<MetricFamily> {
    let rows = text.lines().filter(|line| line.starts_with("| `throughline_"));
    let families = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else { panic!("four cells: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        // What a label may be stands behind its name.
        let labels = labels.split('`').skip(1).step_by(2).map(|name| format!("`{name}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        (name.trim_matches('`').to_owned(), kind.to_owned(), labels)
    });
    families.collect()
}

#[test]
fn every_alert_has_a_test_and_instructions() {
    let tests = include_str!("../../../deploy/prometheus/alerts.test.yml");
    let alerts = include_str!("../../../deploy/prometheus/alerts.yml");
    let names: Vec<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    for name in names {
        let runbook = format!("runbook: docs/operating.md#{}", name.to_lowercase());
        assert!(alerts.contains(&runbook), "{runbook}");
        assert!(OPERATING.contains(&format!("\n### {name}\n")), "{name} has no section");
        for what in ["fires", "is quiet"] {
            assert!(tests.contains(&format!("- name: {name} {what}\n")), "{name} {what}");
        }
    }
}

#[test]
fn alerts_and_dashboards_use_existing_metrics() {
    let known: BTreeSet<_> = documented(OPERATING).into_iter().map(|(name, ..)| name).collect();
    for text in [
        include_str!("../../../deploy/prometheus/alerts.yml"),
        include_str!("../../../deploy/grafana/dashboards/throughline.json"),
    ] {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
        let asked = text.match_indices("throughline_").map(|(at, _)| {
            let rest = &text[at..];
            &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]
        });
        for name in asked {
            let family = name.trim_end_matches("_bucket").trim_end_matches("_count");
            assert!(known.contains(name) || known.contains(family), "{name}");
        }
    }
}
