//! Metrics, as OpenMetrics text: the lanes' counts, and the state of broker, store and rules.
//!
//! A [`Sample`] is everything at one moment; [`Sample::render`] prints it. Every family is printed from
//! the start, each of its label values too, so that a rate is right from the first event on.
//! docs/operating.md lists them all, and a test compares that list with what is printed here.
//!
//! Labels are fixed words and the numbers of lanes: never a tenant, an id, a channel, or any text of a
//! message (K8).
//!
//! Deliberately absent: counting. The pipeline counts in plain atomics, and nothing is rendered before
//! `/metrics` is requested.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
    text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::RejectReason;
use crate::pipeline::observe::histogram::Observed;
use crate::pipeline::observe::labels::{Answered, Kind, Outcome, Stage};
use crate::pipeline::observe::tally::Counts;
use crate::pipeline::settlement::WaitCause;

/// The media type of what is rendered.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The program's version.
    pub version: &'static str,
    /// The revision of the rules in force.
    pub rules_revision: String,
    /// Which rules these are: 1 for those of the start.
    pub rules_number: u64,
    /// How many times a changed rules file was refused.
    pub rules_refused: u64,
    /// Whether the rules file as it is now is refused.
    pub rules_problem: bool,
    /// When the worker started, in milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// The counts of all lanes together.
    pub counts: Counts,
    /// Each lane, in the order of their numbers from 0 on.
    pub lanes: Vec<LaneSample>,
    /// Whether the broker is connected.
    pub broker_connected: bool,
    /// Whether the broker accepts no messages (`connection.blocked`).
    pub broker_blocked: bool,
    /// Whether the store answered the latest ping.
    pub store_up: bool,
    /// Whether the worker is draining before it stops.
    pub draining: bool,
    /// Spans that the collector accepted.
    pub spans_exported: u64,
    /// Spans that were dropped.
    pub spans_dropped: u64,
    /// What the cleaner found.
    pub sweep: SweepSample,
}

/// A lane at one moment.
#[derive(Clone, Debug, Default)]
pub struct LaneSample {
    /// Whether it runs.
    pub running: bool,
    /// Messages received and not settled.
    pub in_hand: u64,
    /// How long ago it took its latest step.
    pub idle: Duration,
}

/// What the cleaner has done, and what it found in its latest round.
#[derive(Clone, Debug, Default)]
pub struct SweepSample {
    /// Rounds through the store.
    pub rounds: u64,
    /// Rows of the latest round; none before the first is over.
    pub rows: Option<u64>,
    /// Active interactions among them.
    pub live_rows: Option<u64>,
    /// Active interactions whose live data was erased.
    pub expired: u64,
    /// Rows whose event log was dropped.
    pub forgotten: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Events that were forgotten before their time.
    pub early: u64,
}

impl Sample {
    /// The metrics as text, from the first `# HELP` to `# EOF`.
    ///
    /// # Errors
    /// None in practice: the library passes on errors of the text buffer, which has none.
    pub fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("throughline");
        registry.register_collector(Box::new(self));
        let mut rendered = String::new();
        text::encode(&mut rendered, &registry)?;
        Ok(rendered)
    }
}

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = MetricsWriter(encoder);
        let Counts { received, retried, conflicts, given_back, .. } = self.counts;
        metrics.info("build", "The program's version.", ("version", self.version))?;
        metrics.info("rules", "The rules in force.", ("revision", self.rules_revision.as_str()))?;
        let help = "Which rules these are: 1 for those of the start.";
        metrics.gauge("rules_number", help, None, self.rules_number)?;
        let help = "Times that a changed rules file was refused.";
        metrics.counter("rules_refused", help, self.rules_refused)?;
        let help = "Whether the rules file as it is now is refused.";
        metrics.gauge("rules_problem", help, None, i64::from(self.rules_problem))?;
        let started = self.started_ms as f64 / 1000.0;
        let help = "When the worker started, since the Unix epoch.";
        metrics.gauge("start_time", help, Some(&Unit::Seconds), started)?;

        metrics.counter(
            "received",
            "Messages received from the work queue, each attempt.",
            received,
        )?;
        metrics.counter("retried", "Messages received again after they had waited.", retried)?;
        let help = "Batches begun again, because another worker had changed one of their rows.";
        metrics.counter("store_conflicts", help, conflicts)?;
        let finished = Outcome::ALL.iter().map(|it| (it.as_str(), self.counts.of(*it)));
        metrics.counters(
            "finished",
            "Messages that are finished, by outcome.",
            finished.chain([("given_back", given_back)]).map(|(word, n)| ([("outcome", word)], n)),
        )?;
        let by_cause = WaitCause::ALL.iter().zip(self.counts.waited);
        let by_cause = by_cause.map(|(cause, n)| ([("cause", cause.as_str())], n));
        metrics.counters(
            "waited",
            "Messages sent to a waiting queue, by what they wait for.",
            by_cause,
        )?;
        let by_reason = |counts: [u64; RejectReason::ALL.len()]| {
            let reasons = RejectReason::ALL.iter().zip(counts);
            reasons.map(|(reason, n)| ([("reason", reason.as_str())], n))
        };
        let help = "Messages found to be rejected, each time they were found so.";
        metrics.counters("rejected", help, by_reason(self.counts.rejected))?;
        let help = "Messages that are in the dead-letter queue.";
        metrics.counters("dead_lettered", help, by_reason(self.counts.dead_lettered))?;
        let published = Kind::ALL.iter().flat_map(|kind| {
            let each = Answered::ALL.iter();
            each.map(|it| {
                let labels = [("kind", kind.as_str()), ("answer", it.as_str())];
                (labels, self.counts.published(*kind, *it))
            })
        });
        metrics.counters("published", "Messages published, by the broker's answer.", published)?;
        let decisions = self
            .counts
            .gated()
            .map(|(target, why, n)| ([("target", target.as_str()), ("why", why.as_str())], n));
        let help = "Interactions for which the status gate decided, by what and why.";
        metrics.counters("gate_decisions", help, decisions)?;

        let batches = &self.counts.batch_messages;
        metrics.histogram(
            "batch_messages",
            "Messages in a batch.",
            None,
            [(UNLABELLED, batches, 1.0)],
        )?;
        let stages = Stage::ALL.iter().zip(&self.counts.stages);
        metrics.histogram(
            "stage_duration",
            "How long a stage of a batch took.",
            Some(&Unit::Seconds),
            stages.map(|(stage, observed)| (Some([("stage", stage.as_str())]), observed, 1e6)),
        )?;
        metrics.histogram(
            "latency",
            "From the sender's own time of a message to the confirm of what came of it.",
            Some(&Unit::Seconds),
            [(UNLABELLED, &self.counts.latency, 1e3)],
        )?;
        self.encode_state(&mut metrics)
    }
}

impl Sample {
    /// The gauges: the state at the moment.
    fn encode_state(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        metrics.gauge(
            "lanes",
            "Lanes that the settings ask for.",
            None,
            count(self.lanes.len()),
        )?;
        let numbers: Vec<_> = (0..self.lanes.len()).map(|number| number.to_string()).collect();
        let each = |value: fn(&LaneSample) -> f64| {
            let lanes = numbers.iter().zip(&self.lanes);
            lanes.map(move |(number, lane)| ([("lane", number.as_str())], value(lane)))
        };
        let running = each(|lane| f64::from(u8::from(lane.running)));
        metrics.gauges("lane_running", "Whether the lane runs.", None, running)?;
        let in_hand = each(|lane| lane.in_hand as f64);
        metrics.gauges("lane_in_hand", "Messages received and not settled.", None, in_hand)?;
        let idle = each(|lane| lane.idle.as_secs_f64());
        metrics.gauges("lane_idle", "Since the lane's latest step.", Some(&Unit::Seconds), idle)?;

        let flag = |is_set: bool| i64::from(is_set);
        let help = "Whether the broker is connected.";
        metrics.gauge("broker_connected", help, None, flag(self.broker_connected))?;
        let help = "Whether the broker accepts no messages, for lack of memory or disk.";
        metrics.gauge("broker_blocked", help, None, flag(self.broker_blocked))?;
        metrics.gauge("store_up", "Whether the store answers.", None, flag(self.store_up))?;
        metrics.gauge(
            "draining",
            "Whether the worker is draining before it stops.",
            None,
            flag(self.draining),
        )?;

        let help = "Spans that the collector accepted.";
        metrics.counter("spans_exported", help, self.spans_exported)?;
        let help = "Spans that were dropped: the queue was full, or the collector away.";
        metrics.counter("spans_dropped", help, self.spans_dropped)?;

        let SweepSample { rounds, rows, live_rows, expired, forgotten, deleted, early } =
            self.sweep;
        metrics.counter("sweeps", "Rounds of the cleaner through the store.", rounds)?;
        let help = "Rows of the store, as the cleaner's latest round found them.";
        metrics.gauge::<u64>("stored_rows", help, None, rows)?;
        let help = "Active interactions among them, with live data.";
        metrics.gauge::<u64>("live_rows", help, None, live_rows)?;
        metrics.counter("expired", "Interactions whose live data has expired.", expired)?;
        metrics.counter("forgotten", "Interactions whose event log had its time.", forgotten)?;
        metrics.counter("deleted", "Interactions that were deleted.", deleted)?;
        let help = "Events that were forgotten before their time: their interaction had too many.";
        metrics.counter("events_forgotten_early", help, early)
    }
}

/// For a histogram that stands alone.
const UNLABELLED: Option<[(&str, &str); 1]> = None;

/// Writes metric families, each with its help and its type.
struct MetricsWriter<'e>(DescriptorEncoder<'e>);

impl MetricsWriter<'_> {
    fn info(&mut self, name: &str, help: &str, label: (&str, &str)) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&[label])
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(family)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl Into<Option<V>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        // A value that is not known yet is left out; its family is there.
        value.into().map_or(Ok(()), |value| family.encode_gauge(&value))
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Histograms; `per_unit` observed units make one exported unit (1e6 for microseconds to seconds).
    fn histogram<'o, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        each: impl IntoIterator<Item = (Option<L>, &'o Observed, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, observed, per_unit) in each {
            let bounds = observed.bounds.iter().map(|bound| *bound as f64 / per_unit);
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(observed.counts.iter().copied()).collect();
            let sum = observed.sum as f64 / per_unit;
            let encode = |encoder: &mut MetricEncoder<'_>| {
                encoder.encode_histogram::<NoLabelSet>(sum, observed.count(), &buckets, None)
            };
            match labels {
                Some(labels) => encode(&mut family.encode_family(&labels)?)?,
                None => encode(&mut family)?,
            }
        }
        Ok(())
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
