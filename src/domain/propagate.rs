//! From what is known of an interaction to what is published of it.
//!
//! ```text
//! own pairs ─▶ assign ─▶ User Data Set ─▶ P1 ─┐
//! parent's finished data ─▶ copyUserData ─────┴▶ finished ─▶ metadata, history, allocated
//! ```
//!
//! The same road for a creation, an update and the repetition of either: an update only starts with
//! more received pairs.

use super::ParentStatus;
use super::assign;
use super::history::{KeyList, Record};
use super::interaction::{Facts, Message};
use super::live_data::LiveData;
use super::metadata::Metadata;
use super::received::{LosingPair, Received};
use super::refusal::Refusal;
use super::report::{DropReason, Origin, RejectReason, Report, Warning, WarningCode};
use super::rules::{Limits, Rules};
use super::user_data::{NotAMap, UserData};
use super::value::{JSON_EVENT, Key, Value};

/// An interaction as it is published.
#[derive(Clone, Debug)]
pub struct Enriched<'a> {
    /// Its attributes besides its user data.
    pub facts: Facts<'a>,
    /// The status of its parent.
    pub parent: ParentStatus,
    /// The finished data, before `[allocated]`.
    pub data: UserData<'a>,
    /// The only keys that are published, where the channel is named in `[allocated]` (H6).
    pub allocated: Option<&'a KeyList>,
    /// The pairs that pass the out-gate (M1).
    pub metadata: Metadata<'a>,
    /// The saved history (H1), published as `extraData`.
    pub record: Record,
}

impl<'a> Enriched<'a> {
    /// Whether a key of the finished data is published.
    pub fn publishes(&self, key: &Key<'_>) -> bool {
        self.allocated.is_none_or(|list| list.contains(key))
    }

    /// The published pairs, with their origins.
    pub fn published(&self) -> impl Iterator<Item = (&Key<'a>, &Value<'a>, Origin)> {
        self.data.iter().filter(|(key, _, _)| self.publishes(key))
    }
}

/// The pairs that a message itself brings, read and gated, and its `jsonEvent`, which goes its own
/// way: it is published with this message and never stored (A2).
#[derive(Debug, Default)]
pub(crate) struct OwnPairs<'a> {
    pub(crate) received: Received<'a>,
    pub(crate) json_event: Option<Value<'a>>,
    /// The pairs that `[[assign]]` makes of them (A1); empty on updates, which do not assign.
    pub(crate) assigned: Vec<(Key<'a>, Value<'a>)>,
}

/// What the reading of a message's own pairs depends on besides the message and the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadContext<'f> {
    /// The channel the interaction is known by.
    pub(crate) channel: &'f str,
    /// The widget the interaction is known by.
    pub(crate) widget: Option<&'f str>,
    /// Whether it creates the interaction: then `[[assign]]` runs and nothing is frozen.
    pub(crate) creates: bool,
}

/// Reads a message's own pairs: names (K6), `[[assign]]` (A1), freeze, User Data Set (U1 to U7),
/// sources (P1), in this order.
///
/// # Errors
/// [`NotAMap`] when any lot of data is none.
pub(crate) fn read_own<'a>(
    rules: &'a Rules,
    message: &Message<'a>,
    context: ReadContext<'_>,
    report: &mut Report<'a>,
) -> Result<OwnPairs<'a>, NotAMap> {
    let names = rules.key_names.for_format(message.format, message.key_names);
    let mut lots = Vec::with_capacity(message.own.len());
    for (n, (source, attached)) in message.own.iter().enumerate() {
        let lot = attached.read(names, source, message.set_ms, report);
        lots.push((source, lot.map_err(|what| what.of_lot(n + 1, message.own.len()))?));
    }
    let mut own = OwnPairs::default();
    if context.creates && assign::concerns(&rules.assign, context.channel) {
        own.assigned = match lots.as_slice() {
            [(_, all)] => assign::run(&rules.assign, context.channel, all),
            several => {
                let mut all = Received::default();
                for (_, lot) in several {
                    all.take_all(lot.clone(), &rules.priority, |_, _| {});
                }
                assign::run(&rules.assign, context.channel, &all)
            }
        };
    }
    let gate = rules.widgets.gate(context.widget);
    let frozen = !context.creates && rules.customer_frozen.contains(context.channel);
    for (source, mut lot) in lots {
        if rules.priority.is_customer(source) {
            lot.retain(|key, value| match gate.judge(key, value) {
                _ if frozen => {
                    report.warn(Warning::about(WarningCode::Frozen, key));
                    report.drop(key.clone(), DropReason::Frozen);
                    false
                }
                Ok(kept) => kept,
                Err(reason) => {
                    report.drop(key.clone(), reason);
                    false
                }
            });
        }
        if own.received.is_empty() {
            own.received = lot;
        } else {
            let overridden = |key, _| report.drop(key, DropReason::Overridden);
            own.received.take_all(lot, &rules.priority, overridden);
        }
    }
    own.json_event = own.received.remove(&JSON_EVENT);
    Ok(own)
}

/// Runs `[[assign]]` for a channel that becomes known after the creation of the interaction (A1), over
/// the pairs received until then. Pairs assigned before stay unless their key is assigned again.
pub(crate) fn assign_late<'a>(rules: &'a Rules, channel: &str, live: &mut LiveData<'a>) {
    for (key, value) in assign::run(&rules.assign, channel, &live.received) {
        live.assigned.retain(|(known, _)| *known != key);
        live.assigned.push((key, value));
    }
}

/// Merges a message's own pairs, the later ones, into what was received before (P1).
pub(crate) fn merge<'a>(
    rules: &Rules,
    into: &mut Received<'a>,
    own: Received<'a>,
    report: &mut Report<'a>,
) {
    into.take_all(own, &rules.priority, |key, loser| {
        if loser == LosingPair::Later {
            report.drop(key, DropReason::Overridden);
        }
    });
}

/// The pairs of a parent that the copy filter selects for a child (C1 to C5); the rest is reported.
pub(crate) fn copy<'a>(
    rules: &Rules,
    channels: (&str, &str),
    parent: impl ExactSizeIterator<Item = (Key<'a>, Value<'a>)>,
    report: &mut Report<'a>,
) -> Vec<(Key<'a>, Value<'a>)> {
    let filter = rules.copy.between(channels.0, channels.1);
    let mut copied = Vec::with_capacity(filter.selects_at_most(parent.len()));
    for (key, value) in parent {
        if filter.selects(&key) {
            copied.push((key, value));
        } else if key == JSON_EVENT {
            report.drop(key, DropReason::NeverCopied);
        } else {
            report.drop(key, DropReason::NotListed);
        }
    }
    copied
}

/// The finished data: one pair per key, the strongest (C6): replaced, assigned, received, copied,
/// defaulted.
pub(crate) fn finish<'a>(
    rules: &'a Rules,
    widget: Option<&str>,
    live: &LiveData<'a>,
    json_event: Option<Value<'a>>,
    report: &mut Report<'a>,
) -> UserData<'a> {
    let gate = rules.widgets.gate(widget);
    // One more for `jsonEvent`; what a set adds may make it grow.
    let pairs = live.received.len() + live.assigned.len() + live.copied.len() + 1;
    let mut data = UserData::with_capacity(pairs);
    // Of one kind no key stands twice, so each pair has its rivals among those of the kinds before.
    for (key, default) in gate.defaults(true) {
        data.fill(0, key, default, Origin::Replaced, report);
    }
    let rivals = data.len();
    for (key, value) in &live.assigned {
        data.fill(rivals, key.clone(), value.clone(), Origin::Assigned, report);
    }
    let rivals = data.len();
    for (key, value, source) in live.received.iter() {
        // They passed the gate when they came; it is asked again because the rules may be others
        // now, and a set that drops a key drops it from then on.
        match if rules.priority.is_customer(source) { gate.judge(key, value) } else { Ok(true) } {
            Ok(true) => data.fill(rivals, key.clone(), value.clone(), Origin::Received, report),
            Ok(false) => {}
            Err(reason) => report.drop(key.clone(), reason),
        }
    }
    if let Some(value) = json_event {
        data.fill(data.len(), JSON_EVENT, value, Origin::Received, report);
    }
    let rivals = data.len();
    for (key, value) in &live.copied {
        data.fill(rivals, key.clone(), value.clone(), Origin::Copied, report);
    }
    for (key, default) in gate.defaults(false) {
        if data.get(&key).is_none() {
            data.fill(0, key, default, Origin::Defaulted, report);
        }
    }
    data
}

/// Works everything out from what is known: finished data, metadata, history, allocation.
///
/// # Errors
/// `too_large` when the finished data is above the limit (K7).
pub(crate) fn work_out<'a>(
    rules: &'a Rules,
    facts: Facts<'a>,
    live: &LiveData<'a>,
    json_event: Option<Value<'a>>,
    report: &mut Report<'a>,
) -> Result<Enriched<'a>, Refusal> {
    let widget = facts.widget.as_deref();
    if widget.is_some_and(|id| rules.widgets.get(id).is_none()) {
        report.warn(Warning::new(WarningCode::WidgetUnknown));
    }
    let data = finish(rules, widget, live, json_event, report);
    let Limits { user_data_warn_bytes, user_data_max_bytes } = rules.limits;
    if !data.surely_fits(user_data_warn_bytes.min(user_data_max_bytes)) {
        let bytes = data.json_len();
        if bytes > user_data_max_bytes {
            return Err(Refusal::new(
                RejectReason::TooLarge,
                format!(
                    "the finished user data has {bytes} bytes, of {user_data_max_bytes} that are allowed"
                ),
            ));
        }
        if bytes > user_data_warn_bytes {
            report.warn(Warning::new(WarningCode::UserDataLarge));
        }
    }
    let of_widget = || rules.widgets.get(widget?)?.call_target.as_deref();
    let call_target = facts.call_target.as_deref().or_else(of_widget);
    let metadata = rules.metadata.select(call_target, &data, report);
    let record = rules.history.select(&facts.channel, facts.queue.as_deref(), &data, report);
    let allocated = rules.allocated.get(facts.channel.as_ref());
    if let Some(list) = allocated {
        for (key, _, _) in data.iter().filter(|(key, _, _)| !list.contains(key)) {
            report.drop(key.clone(), DropReason::NotAllocated);
        }
    }
    Ok(Enriched { facts, parent: live.parent, data, allocated, metadata, record })
}
