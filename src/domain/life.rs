//! The life of an interaction: what a message does to it, given where it stands.
//!
//! [`step`] is the whole of it: rules, a message, the interaction and its parent as they stand, in;
//! an outcome and the interaction as it stands afterwards, out. Total: every message has an
//! outcome. First comes the life (repeat, after the end, not known yet), then the message's data:
//! what comes after the end is not even looked at.

use super::Record;
use super::event_log::EventLog;
use super::interaction::{
    EndState, Event, Facts, Identity, InlineParent, Message, ParentStatus, State,
};
use super::live_data::LiveData;
use super::progress::Progress;
use super::propagate::{self, Enriched, Reading};
use super::report::{DropReason, RejectReason, Report, WaitFor, Warning, WarningCode};
use super::rules::{Rules, UnknownParent};
use super::value::Key;

/// What a message comes to.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// Published as `interaction.enriched`.
    Enriched(Box<Enriched<'a>>),
    /// Published as `interaction.ended`.
    Ended(Box<EndedInteraction<'a>>),
    /// Too late, or about nothing; nothing is published.
    Ignored,
    /// The same event again; nothing is changed or published.
    Duplicate,
    /// It must wait; nothing is changed or published.
    Waiting(WaitFor<'a>),
    /// It is set aside; nothing is changed or published.
    Rejected(RejectReason),
}

impl Outcome<'_> {
    /// The word for it in case files and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Enriched(_) => "enriched",
            Outcome::Ended(_) => "ended",
            Outcome::Ignored => "ignored",
            Outcome::Duplicate => "duplicate",
            Outcome::Waiting(_) => "waiting",
            Outcome::Rejected(_) => "rejected",
        }
    }
}

/// An interaction that has ended, as it is published.
#[derive(Clone, Debug)]
pub struct EndedInteraction<'a> {
    /// What is known of it.
    pub facts: Facts<'a>,
    /// `ended` or `handled`.
    pub state: State,
    /// The history that stays.
    pub record: Record,
}

/// An interaction as it stands.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// Where in its life.
    pub state: State,
    /// What is known of it besides user data.
    pub facts: Facts<'a>,
    /// Its history.
    pub record: Record,
    /// Its live data.
    pub live: StandingLive<'a>,
    /// The events that brought it here.
    pub events: EventLog,
}

/// The live data of an interaction as it stands.
#[derive(Clone, Debug)]
pub enum StandingLive<'a> {
    /// None: it has ended or expired, or was erased.
    Absent,
    /// Known.
    Known(LiveData<'a>),
    /// There is some that cannot be read (no key opens it): whoever needs it cannot go on.
    Unreadable,
}

impl<'a> Standing<'a> {
    /// The live data of an active interaction; `None` once it has ended or expired.
    fn alive(&self) -> Option<&StandingLive<'a>> {
        let alive = self.state == State::Active && !matches!(self.live, StandingLive::Absent);
        alive.then_some(&self.live)
    }
}

/// What the transport says of this try.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// A redelivery, a delivery with our own attempt or replay header, or a further try after one that
    /// may have been saved: an event that was already saved may not have been published, and is
    /// finished.
    pub may_be_unfinished: bool,
    /// It may not wait for its parent any more.
    pub last_for_parent: bool,
    /// It may not wait for its interaction any more.
    pub last_for_interaction: bool,
}

/// What [`step`] found.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// What the message comes to.
    pub outcome: Outcome<'a>,
    /// What was noted on the way.
    pub report: Report<'a>,
    /// The interaction as it stands now; `None` where the message changed nothing.
    pub next: Option<Standing<'a>>,
    /// Whether the message is the one that began its interaction, also where it comes again.
    pub begins: bool,
}

/// Takes one message through the rules. `parent` is the interaction that
/// [`Message::parent`](super::Message::parent) names, as it stands; `None` if nobody knows it.
pub fn step<'a>(
    rules: &'a Rules,
    message: &Message<'a>,
    standing: Option<&Standing<'a>>,
    parent: Option<&Standing<'a>>,
    attempt: Attempt,
) -> Step<'a> {
    let mut report = Report::default();
    for warning in &message.warnings {
        report.warn(warning.clone());
    }
    let mut walk = Walk { rules, message, attempt, report, next: None };
    let outcome = walk.outcome(standing, parent);
    // Whatever is rejected in the end has changed nothing.
    let begins = message.begins(standing.map(|standing| &standing.events));
    Step { outcome, report: walk.report, next: walk.next, begins }
}

impl<'a> Message<'a> {
    /// The parent that this message names: within its tenant, and not itself (C9).
    pub fn parent(&self) -> Option<Identity<'a>> {
        let id = self.facts.parent_id.clone()?;
        let itself = id == self.identity.id;
        (!itself).then(|| Identity { tenant: self.identity.tenant.clone(), id })
    }
}

struct Walk<'r, 'a> {
    rules: &'a Rules,
    message: &'r Message<'a>,
    attempt: Attempt,
    report: Report<'a>,
    next: Option<Standing<'a>>,
}

impl<'a> Walk<'_, 'a> {
    fn outcome(
        &mut self,
        standing: Option<&Standing<'a>>,
        parent: Option<&Standing<'a>>,
    ) -> Outcome<'a> {
        let Some(standing) = standing else { return self.unknown(parent) };
        if standing.events.contains(&self.message.event_id) {
            return match self.attempt.may_be_unfinished {
                true => self.finish(standing),
                false => Outcome::Duplicate,
            };
        }
        match (self.message.event, standing.alive()) {
            (Event::Ended(state), _) => self.end(standing, state),
            (Event::Created | Event::Opened | Event::Updated, None) => {
                self.report.warn(Warning::of(WarningCode::AfterEnd));
                Outcome::Ignored
            }
            (Event::Created, Some(_)) => self.create(Some(standing), parent),
            (Event::Opened | Event::Updated, Some(StandingLive::Known(live))) => {
                self.update(standing, live)
            }
            (Event::Opened | Event::Updated, Some(_)) => Outcome::Rejected(RejectReason::Internal),
        }
    }

    fn unknown(&mut self, parent: Option<&Standing<'a>>) -> Outcome<'a> {
        match self.message.event {
            Event::Created | Event::Opened => self.create(None, parent),
            Event::Updated | Event::Ended(_) if !self.attempt.last_for_interaction => {
                Outcome::Waiting(WaitFor::Interaction(self.message.identity.clone()))
            }
            Event::Updated => Outcome::Rejected(RejectReason::InteractionUnknown),
            Event::Ended(_) => {
                self.report.warn(Warning::of(WarningCode::InteractionUnknown));
                Outcome::Ignored
            }
        }
    }

    fn create(
        &mut self,
        standing: Option<&Standing<'a>>,
        parent: Option<&Standing<'a>>,
    ) -> Outcome<'a> {
        let facts = self.message.facts.clone();
        if facts.channel.is_empty() {
            return Outcome::Rejected(RejectReason::NotAnInteraction);
        }
        let reading =
            Reading { channel: &facts.channel, widget: facts.widget.as_deref(), creates: true };
        let own = propagate::read_own(self.rules, self.message, reading, &mut self.report);
        let Ok(own) = own else { return Outcome::Rejected(RejectReason::UserDataNotAMap) };
        self.check_progress(None);
        let (parent, copied) = match self.copy_from_parent(parent, &facts.channel) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let live = LiveData { received: own.received, assigned: own.assigned, copied, parent };
        let worked_out =
            propagate::work_out(self.rules, facts.clone(), &live, own.json_event, &mut self.report);
        self.save(standing, facts, live, worked_out)
    }

    /// The parent's data, in the order of C8, and what of it is copied.
    fn copy_from_parent(
        &mut self,
        parent: Option<&Standing<'a>>,
        child: &str,
    ) -> Result<(ParentStatus, Vec<(Key<'a>, super::Value<'a>)>), Outcome<'a>> {
        let named = self.message.facts.parent_id.is_some();
        let identity = self.message.parent();
        if named && identity.is_none() {
            return Ok((ParentStatus::None, Vec::new()));
        }
        if let Some(inline) = &self.message.inline_parent {
            return Ok((ParentStatus::Inline, self.copy_from_inline(inline, child)?));
        }
        let Some(identity) = identity else { return Ok((ParentStatus::None, Vec::new())) };
        match parent.map(Standing::alive) {
            Some(Some(StandingLive::Known(live))) => {
                let standing = parent.map(|parent| &parent.facts);
                let (channel, widget) = standing
                    .map(|facts| (facts.channel.as_ref(), facts.widget.as_deref()))
                    .unwrap_or_default();
                // Warnings and reasons speak of the child's own data, not of its parent's (K4).
                let mut unsaid = Report::default();
                let data = propagate::finish(self.rules, widget, live, None, &mut unsaid);
                let pairs = data.iter().map(|(key, value, _)| (key.clone(), value.clone()));
                let channels = (channel, child);
                let copied = propagate::copy(self.rules, channels, pairs, &mut self.report);
                Ok((ParentStatus::Found, copied))
            }
            // To go on without what the rules may select would lose it silently.
            Some(Some(_)) => Err(Outcome::Rejected(RejectReason::Internal)),
            Some(None) => Ok((ParentStatus::Ended, Vec::new())),
            None if !self.rules.copy.may_copy_to(child) => Ok((ParentStatus::Unknown, Vec::new())),
            None if !self.attempt.last_for_parent => {
                Err(Outcome::Waiting(WaitFor::Parent(identity)))
            }
            None => match self.rules.unknown_parent {
                UnknownParent::Publish => Ok((ParentStatus::Unknown, Vec::new())),
                UnknownParent::DeadLetter => Err(Outcome::Rejected(RejectReason::ParentUnknown)),
            },
        }
    }

    fn copy_from_inline(
        &mut self,
        parent: &InlineParent<'a>,
        child: &str,
    ) -> Result<Vec<(Key<'a>, super::Value<'a>)>, Outcome<'a>> {
        let names = self.rules.key_names.of(self.message.format, self.message.key_names);
        // Of the parent's report only the keys that K6 refuses concern this message.
        let mut of_parent = Report::default();
        let pairs = parent
            .user_data
            .read(names, &super::Source::Customer, &mut of_parent)
            .map_err(|_| Outcome::Rejected(RejectReason::UserDataNotAMap))?;
        for (key, reason) in of_parent.dropped() {
            if reason == DropReason::InvalidKey {
                self.report.drop(key, reason);
            }
        }
        let pairs = pairs.iter().map(|(key, value, _)| (key.clone(), value.clone()));
        let channels = (parent.channel.as_ref(), child);
        Ok(propagate::copy(self.rules, channels, pairs, &mut self.report))
    }

    fn update(&mut self, standing: &Standing<'a>, live: &LiveData<'a>) -> Outcome<'a> {
        let said = &self.message.facts;
        let known = &standing.facts;
        let facts = Facts {
            queue: said.queue.clone().or_else(|| known.queue.clone()),
            call_target: said.call_target.clone().or_else(|| known.call_target.clone()),
            direction: known.direction.clone().or_else(|| said.direction.clone()),
            created_at: known.created_at.clone().or_else(|| said.created_at.clone()),
            ..known.clone()
        };
        let reading =
            Reading { channel: &known.channel, widget: known.widget.as_deref(), creates: false };
        let own = propagate::read_own(self.rules, self.message, reading, &mut self.report);
        let Ok(own) = own else { return Outcome::Rejected(RejectReason::UserDataNotAMap) };
        self.check_progress(Some(live));
        let mut live = live.clone();
        propagate::merge(self.rules, &mut live.received, own.received, &mut self.report);
        let worked_out =
            propagate::work_out(self.rules, facts.clone(), &live, own.json_event, &mut self.report);
        self.save(Some(standing), facts, live, worked_out)
    }

    fn save(
        &mut self,
        standing: Option<&Standing<'a>>,
        facts: Facts<'a>,
        live: LiveData<'a>,
        worked_out: Result<Enriched<'a>, RejectReason>,
    ) -> Outcome<'a> {
        let enriched = match worked_out {
            Ok(enriched) => enriched,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let nothing = EventLog::default();
        let events = standing.map_or(&nothing, |standing| &standing.events);
        self.next = Some(Standing {
            state: State::Active,
            facts,
            record: enriched.record.clone(),
            live: StandingLive::Known(live),
            events: events.with(&self.message.event_id),
        });
        Outcome::Enriched(Box::new(enriched))
    }

    fn end(&mut self, standing: &Standing<'a>, said: EndState) -> Outcome<'a> {
        if self.message.own.iter().any(|(_, attached)| !attached.is_blank()) {
            self.report.warn(Warning::of(WarningCode::AttachedDataIgnored));
        }
        if let Some(StandingLive::Known(live)) = standing.alive() {
            self.check_progress(Some(live));
        }
        let state = match (standing.state, said) {
            (State::Handled, _) | (_, EndState::Handled) => State::Handled,
            (_, EndState::Ended) => State::Ended,
        };
        let (facts, record) = (standing.facts.clone(), standing.record.clone());
        self.next = Some(Standing {
            state,
            facts: facts.clone(),
            record: record.clone(),
            live: StandingLive::Absent,
            events: standing.events.with(&self.message.event_id),
        });
        Outcome::Ended(Box::new(EndedInteraction { facts, state, record }))
    }

    /// Compares the message with the steps before it, where its format documents their order.
    fn check_progress(&mut self, live: Option<&LiveData<'a>>) {
        let in_order = |progress: Progress| progress.is_in_order(live.map(|live| &live.received));
        if !self.message.progress.is_none_or(in_order) {
            self.report.warn(Warning::of(WarningCode::LifecycleOrder));
        }
    }

    /// An event that was saved but perhaps not published: what is published is the interaction as it
    /// now stands. Nothing is applied again. Its own `jsonEvent` still belongs to this message.
    fn finish(&mut self, standing: &Standing<'a>) -> Outcome<'a> {
        match standing.alive() {
            Some(StandingLive::Known(live)) => {
                let facts = standing.facts.clone();
                let reading = Reading {
                    channel: &standing.facts.channel,
                    widget: standing.facts.widget.as_deref(),
                    creates: self.message.begins(Some(&standing.events)),
                };
                let own = propagate::read_own(self.rules, self.message, reading, &mut self.report);
                let json_event = own.ok().and_then(|own| own.json_event);
                let worked_out =
                    propagate::work_out(self.rules, facts, live, json_event, &mut self.report);
                match worked_out {
                    Ok(enriched) => Outcome::Enriched(Box::new(enriched)),
                    Err(reason) => Outcome::Rejected(reason),
                }
            }
            Some(_) => Outcome::Rejected(RejectReason::Internal),
            None => Outcome::Ended(Box::new(EndedInteraction {
                facts: standing.facts.clone(),
                state: match standing.state {
                    State::Handled => State::Handled,
                    // What has expired counts as ended.
                    State::Active | State::Ended | State::Expired => State::Ended,
                },
                record: standing.record.clone(),
            })),
        }
    }
}
