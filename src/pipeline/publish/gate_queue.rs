//! What waits for the status gate steps aside: its own interaction keeps its order, others pass (G3).
//!
//! Between the halves of a lane's line, right before the publication. There the interaction is saved,
//! so its widget is known for updates and for redeliveries too, and nothing is published yet. What is
//! held is neither published nor acknowledged, so a crash is a redelivery that asks again.
//!
//! ```text
//! saved batch ─▶ take ─┬─ not gated, or the answer is known ─────────────▶ publish
//!                      └─ held, and what follows of its interaction ─▶ answered ─▶ publish
//! ```
//!
//! Invariants: messages of one interaction leave in the order in which they came; at most one question
//! about a widget is open; what is held is bounded. Deliberately absent: a limit of time, which is the
//! gate's, and a place of their own for held deliveries in the store, since the broker has them.

use std::collections::{HashSet, VecDeque};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use indexmap::IndexMap;

use crate::domain::Identity;
use crate::pipeline::gate_policy::{GateOverflow, GatePolicy, HELD_MAX};
use crate::pipeline::observe::message_trace::Traced;
use crate::pipeline::observe::tally::Tally;
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::SavedBatch;
use crate::pipeline::ports::{GateReason, GateReply, GateVerdict, Published};

/// A delivery, and what is published of it.
type Held<D> = (Traced<D>, Box<Published>);

/// What a lane holds for the status gate.
pub(crate) struct GateQueue<'w, D> {
    gating: Option<&'w GatePolicy>,
    tally: &'w Tally,
    /// Each interaction's deliveries in their order. The first of each waits for an answer.
    held: IndexMap<Identity<'static>, VecDeque<Held<D>>>,
    held_messages: usize,
    /// The widgets that are being asked about, each with one question.
    asked: HashSet<String>,
    questions: FuturesUnordered<BoxFuture<'w, (String, GateVerdict)>>,
}

impl<'w, D> GateQueue<'w, D> {
    pub(crate) fn new(gating: Option<&'w GatePolicy>, tally: &'w Tally) -> GateQueue<'w, D> {
        GateQueue {
            gating,
            tally,
            held: IndexMap::new(),
            held_messages: 0,
            asked: HashSet::new(),
            questions: FuturesUnordered::new(),
        }
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a question is open. Its answer must be taken even if no message waits for it any more, or
    /// it would answer a question that is asked much later.
    pub(crate) fn asks(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether another batch may be taken.
    pub(crate) fn has_room(&self) -> bool {
        let waits = self.gating.is_some_and(|gating| gating.when_full == GateOverflow::Wait);
        !waits || self.held_messages < usize::from(HELD_MAX)
    }

    /// Takes a batch and gives back what can be published at once.
    pub(crate) fn take(&mut self, batch: SavedBatch<D>) -> SavedBatch<D> {
        let Some(gating) = self.gating else { return batch };
        let mut at_once = Vec::with_capacity(batch.len());
        for (delivery, plan) in batch {
            match plan {
                Plan::Publish(message) => self.sort(gating, delivery, message, &mut at_once),
                // Nothing of it is published under its interaction's name.
                plan @ (Plan::Done(_) | Plan::Failed { .. }) => at_once.push((delivery, plan)),
            }
        }
        at_once
    }

    fn sort(
        &mut self,
        gating: &GatePolicy,
        delivery: Traced<D>,
        mut message: Box<Published>,
        at_once: &mut SavedBatch<D>,
    ) {
        self.ask(gating, &mut message);
        let follows = self.held.contains_key(&message.identity);
        if message.gated.is_none() && !follows {
            at_once.push((delivery, Plan::Publish(message)));
            return;
        }
        if self.held_messages >= usize::from(HELD_MAX) && gating.when_full == GateOverflow::Decide {
            // Those before it cannot wait any longer either, or it would overtake them.
            let before = self.held.shift_remove(&message.identity).unwrap_or_default();
            self.held_messages -= before.len();
            for (delivery, mut message) in before.into_iter().chain([(delivery, message)]) {
                self.decide(&mut message, &GateVerdict::without_answer(GateReason::Crowded));
                at_once.push((delivery, Plan::Publish(message)));
            }
            return;
        }
        self.held_messages += 1;
        let identity = message.identity.clone();
        self.held.entry(identity).or_default().push_back((delivery, message));
    }

    /// Decides over a message if that can be done at once; else sees to it that its widget is asked
    /// about.
    fn ask(&mut self, gating: &GatePolicy, message: &mut Published) {
        let verdict = match message.gated.as_ref().map(|gated| gated.widget.as_deref()) {
            None => return,
            Some(None) => GateVerdict::without_answer(GateReason::NoWidget),
            Some(Some(widget)) if self.asked.contains(widget) => return,
            Some(Some(widget)) => match gating.gate.ask(widget) {
                GateReply::Now(verdict) => verdict,
                GateReply::Later(answer) => {
                    let widget = widget.to_owned();
                    self.asked.insert(widget.clone());
                    self.questions.push(Box::pin(async move { (widget, answer.await) }));
                    return;
                }
            },
        };
        self.decide(message, &verdict);
    }

    fn decide(&self, message: &mut Published, verdict: &GateVerdict) {
        if message.gated.is_some() {
            self.tally.gated(verdict);
            message.route(&verdict.routing);
        }
    }

    /// Waits for an answer and gives what it lets go, which may be nothing. Cancel-safe: what is held
    /// changes after the only await. Never ends while no question is open.
    pub(crate) async fn released(&mut self) -> SavedBatch<D> {
        let Some((widget, verdict)) = self.questions.next().await else {
            return std::future::pending().await;
        };
        self.asked.remove(&widget);
        let mut released = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        held.retain(|_, messages| {
            for (_, message) in messages.iter_mut() {
                let asks = message.gated.as_ref().and_then(|gated| gated.widget.as_deref());
                if asks == Some(widget.as_str()) {
                    self.decide(message, &verdict);
                }
            }
            let waits = |(_, message): &Held<D>| message.gated.is_some();
            let ready = messages.iter().position(waits).unwrap_or(messages.len());
            let ready = messages.drain(..ready);
            released.extend(ready.map(|(delivery, message)| (delivery, Plan::Publish(message))));
            !messages.is_empty()
        });
        self.held = held;
        self.held_messages -= released.len();
        released
    }
}
