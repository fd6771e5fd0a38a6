//! The lifecycle of an interaction: what a message changes, given the stored state.
//!
//! [`step`] takes the rules, a message, and snapshots of the interaction and its parent; it returns an
//! outcome and the next snapshot of the interaction. It is total: every message has an outcome. The
//! lifecycle is checked first (repeat, after the end, not stored yet), then the message's data: data that
//! comes after the end is not read.

mod parent;
mod renewal;

use super::Record;
use super::event_log::EventLog;
use super::interaction::{EndState, Event, Facts, Message, State};
use super::live_data::LiveData;
use super::progress::Progress;
use super::propagate::{self, Enriched, ReadContext};
use super::refusal::Refusal;
use super::report::{Report, WaitFor, Warning, WarningCode};
use super::rules::Rules;
use super::saved_before::SavedBefore;
use super::sessions::Sessions;

/// The outcome of a message.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// Published as `interaction.enriched`.
    Enriched(Box<Enriched<'a>>),
    /// Published as `interaction.ended`.
    Ended(Box<EndedInteraction<'a>>),
    /// Too late, about nothing, or the end of one session of several; nothing is published.
    Ignored,
    /// The same event again; nothing is changed or published.
    Duplicate,
    /// It must wait; nothing is changed or published.
    Waiting(WaitFor<'a>),
    /// It is set aside; nothing is changed or published.
    Rejected(Refusal),
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

impl From<Refusal> for Outcome<'_> {
    fn from(refusal: Refusal) -> Self {
        Outcome::Rejected(refusal)
    }
}

/// An interaction that has ended, as it is published.
#[derive(Clone, Debug)]
pub struct EndedInteraction<'a> {
    /// Its attributes.
    pub facts: Facts<'a>,
    /// `ended` or `handled`.
    pub state: State,
    /// The history that stays.
    pub record: Record,
}

/// The state of an interaction between two messages, as the database stores it.
#[derive(Clone, Debug)]
pub struct InteractionSnapshot<'a> {
    /// Its state in the lifecycle.
    pub state: State,
    /// Its attributes besides user data.
    pub facts: Facts<'a>,
    /// Its history.
    pub record: Record,
    /// The part of its history that was saved before it expired and began anew.
    pub saved_before: SavedBefore,
    /// Its live data.
    pub live: SnapshotLiveData<'a>,
    /// The events that brought it here.
    pub events: EventLog,
    /// Its sessions, where its vendor counts several.
    pub sessions: Sessions,
}

/// The live data of an [`InteractionSnapshot`].
#[derive(Clone, Debug)]
pub enum SnapshotLiveData<'a> {
    /// None: it has ended or expired, or was erased.
    Absent,
    /// Stored and decrypted.
    Known(LiveData<'a>),
    /// It is stored but cannot be decrypted (no configured key opens it): a message that needs it fails.
    Unreadable,
}

impl<'a> InteractionSnapshot<'a> {
    /// The live data of an active interaction; `None` once it has ended or expired.
    fn alive(&self) -> Option<&SnapshotLiveData<'a>> {
        let alive = self.state == State::Active && !matches!(self.live, SnapshotLiveData::Absent);
        alive.then_some(&self.live)
    }
}

/// What the transport knows of this attempt.
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

/// The result of [`step`].
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// The outcome of the message.
    pub outcome: Outcome<'a>,
    /// Warnings, and the pairs that were dropped.
    pub report: Report<'a>,
    /// The next snapshot of the interaction; `None` where the message changed nothing.
    pub next: Option<InteractionSnapshot<'a>>,
    /// Whether the message is the one that began its interaction, also where it comes again.
    pub begins: bool,
}

/// Takes one message through the rules. `parent` is the interaction that
/// [`Message::parent`](super::Message::parent) names, as it is stored; `None` if it is not stored.
pub fn step<'a>(
    rules: &'a Rules,
    message: &Message<'a>,
    snapshot: Option<&InteractionSnapshot<'a>>,
    parent: Option<&InteractionSnapshot<'a>>,
    attempt: Attempt,
) -> Step<'a> {
    let mut report = Report::default();
    message.warnings.iter().for_each(|warning| report.warn(warning.clone()));
    let mut evaluation = Evaluation { rules, message, attempt, report, next: None };
    let outcome = evaluation.outcome(snapshot, parent);
    // A rejected message has changed nothing.
    let known = evaluation.next.as_ref().or(snapshot).map(|snapshot| &snapshot.events);
    let begins = message.begins(known);
    Step { outcome, report: evaluation.report, next: evaluation.next, begins }
}

/// The evaluation of one message: its inputs, and what it has found so far.
struct Evaluation<'r, 'a> {
    rules: &'a Rules,
    message: &'r Message<'a>,
    attempt: Attempt,
    report: Report<'a>,
    next: Option<InteractionSnapshot<'a>>,
}

impl<'a> Evaluation<'_, 'a> {
    fn outcome(
        &mut self,
        snapshot: Option<&InteractionSnapshot<'a>>,
        parent: Option<&InteractionSnapshot<'a>>,
    ) -> Outcome<'a> {
        let Some(snapshot) = snapshot else { return self.unknown(parent) };
        if snapshot.events.contains(&self.message.event_id) {
            return match self.attempt.may_be_unfinished {
                true => self.finish(snapshot),
                false => Outcome::Duplicate,
            };
        }
        match (self.message.event, snapshot.alive()) {
            (Event::Ended(state), Some(live)) => self.end_session(snapshot, live, state),
            (Event::Ended(state), None) => self.end(snapshot, state),
            // An expiry is not an end that a message stated: the conversation begins anew.
            (Event::Created | Event::Opened, None) if snapshot.state == State::Expired => {
                self.create(Some(snapshot), parent)
            }
            (Event::Created | Event::Opened | Event::Updated, None) => {
                self.report.warn(Warning::new(WarningCode::AfterEnd));
                Outcome::Ignored
            }
            (Event::Created, Some(_)) => self.create(Some(snapshot), parent),
            (Event::Opened | Event::Updated, Some(SnapshotLiveData::Known(live))) => {
                self.update(snapshot, live)
            }
            (Event::Opened | Event::Updated, Some(_)) => {
                Refusal::unreadable("its interaction").into()
            }
        }
    }

    fn unknown(&mut self, parent: Option<&InteractionSnapshot<'a>>) -> Outcome<'a> {
        match self.message.event {
            Event::Created | Event::Opened => self.create(None, parent),
            Event::Updated | Event::Ended(_) if !self.attempt.last_for_interaction => {
                Outcome::Waiting(WaitFor::Interaction(self.message.identity.clone()))
            }
            Event::Updated => Refusal::interaction_unknown().into(),
            Event::Ended(_) => {
                self.report.warn(Warning::new(WarningCode::InteractionUnknown));
                Outcome::Ignored
            }
        }
    }

    fn create(
        &mut self,
        snapshot: Option<&InteractionSnapshot<'a>>,
        parent: Option<&InteractionSnapshot<'a>>,
    ) -> Outcome<'a> {
        let facts = self.message.facts.clone();
        if facts.channel.is_empty() {
            return Refusal::without_channel().into();
        }
        let context =
            ReadContext { channel: &facts.channel, widget: facts.widget.as_deref(), creates: true };
        let own = match propagate::read_own(self.rules, self.message, context, &mut self.report) {
            Ok(own) => own,
            Err(what) => return Refusal::not_a_map("the user data", &what).into(),
        };
        self.check_progress(None);
        let (parent, copied) = match self.copy_from_parent(parent, &facts.channel) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let live = LiveData { received: own.received, assigned: own.assigned, copied, parent };
        let worked_out =
            propagate::work_out(self.rules, facts.clone(), &live, own.json_event, &mut self.report);
        self.save(snapshot, facts, live, worked_out)
    }

    fn update(&mut self, snapshot: &InteractionSnapshot<'a>, live: &LiveData<'a>) -> Outcome<'a> {
        let incoming = &self.message.facts;
        let known = &snapshot.facts;
        // The first real channel counts as if it had been there at the creation.
        let settles = !known.names_channel() && incoming.names_channel();
        let channel = if settles { &incoming.channel } else { &known.channel };
        let facts = Facts {
            channel: channel.clone(),
            queue: incoming.queue.clone().or_else(|| known.queue.clone()),
            call_target: incoming.call_target.clone().or_else(|| known.call_target.clone()),
            direction: known.direction.clone().or_else(|| incoming.direction.clone()),
            created_at: known.created_at.clone().or_else(|| incoming.created_at.clone()),
            ..known.clone()
        };
        let context = ReadContext { channel, widget: known.widget.as_deref(), creates: false };
        let own = match propagate::read_own(self.rules, self.message, context, &mut self.report) {
            Ok(own) => own,
            Err(what) => return Refusal::not_a_map("the user data", &what).into(),
        };
        self.check_progress(Some(live));
        let mut live = live.clone();
        if settles {
            propagate::assign_late(self.rules, channel, &mut live);
        }
        propagate::merge(self.rules, &mut live.received, own.received, &mut self.report);
        let worked_out =
            propagate::work_out(self.rules, facts.clone(), &live, own.json_event, &mut self.report);
        self.save(Some(snapshot), facts, live, worked_out)
    }

    fn save(
        &mut self,
        snapshot: Option<&InteractionSnapshot<'a>>,
        facts: Facts<'a>,
        live: LiveData<'a>,
        worked_out: Result<Enriched<'a>, Refusal>,
    ) -> Outcome<'a> {
        let mut enriched = match worked_out {
            Ok(enriched) => enriched,
            Err(refusal) => return refusal.into(),
        };
        let id = &self.message.event_id;
        let (saved_before, events) = match snapshot {
            None => (SavedBefore::default(), EventLog::default().with(id)),
            Some(old) => old.carry_on(id, &mut enriched.record),
        };
        let active = snapshot.filter(|snapshot| snapshot.alive().is_some());
        let mut sessions = active.map(|known| known.sessions.clone()).unwrap_or_default();
        if let Some(session) = &self.message.session {
            sessions.start(session);
        }
        self.next = Some(InteractionSnapshot {
            state: State::Active,
            facts,
            record: enriched.record.clone(),
            saved_before,
            live: SnapshotLiveData::Known(live),
            events,
            sessions,
        });
        Outcome::Enriched(Box::new(enriched))
    }

    /// An end of an active interaction. Where another of its sessions is open, the interaction goes on,
    /// and only the end of this session is saved.
    fn end_session(
        &mut self,
        snapshot: &InteractionSnapshot<'a>,
        live: &SnapshotLiveData<'a>,
        end_state: EndState,
    ) -> Outcome<'a> {
        let mut sessions = snapshot.sessions.clone();
        if self.message.session.as_ref().is_none_or(|session| sessions.end(session)) {
            return self.end(snapshot, end_state);
        }
        if matches!(live, SnapshotLiveData::Unreadable) {
            // Saving the row would overwrite the data that cannot be decrypted.
            return Refusal::unreadable("its interaction").into();
        }
        self.note_ignored_data();
        let events = snapshot.events.with(&self.message.event_id);
        self.next = Some(InteractionSnapshot { sessions, events, ..snapshot.clone() });
        Outcome::Ignored
    }

    /// Warns of data that an end brought.
    fn note_ignored_data(&mut self) {
        if self.message.own.iter().any(|(_, attached)| !attached.is_blank()) {
            self.report.warn(Warning::new(WarningCode::AttachedDataIgnored));
        }
    }

    fn end(&mut self, snapshot: &InteractionSnapshot<'a>, end_state: EndState) -> Outcome<'a> {
        self.note_ignored_data();
        if let Some(SnapshotLiveData::Known(live)) = snapshot.alive() {
            self.check_progress(Some(live));
        }
        let state = match (snapshot.state, end_state) {
            (State::Handled, _) | (_, EndState::Handled) => State::Handled,
            (_, EndState::Ended) => State::Ended,
        };
        let (facts, record) = (snapshot.facts.clone(), snapshot.record.clone());
        self.next = Some(InteractionSnapshot {
            state,
            facts: facts.clone(),
            record: record.clone(),
            saved_before: SavedBefore::default(),
            live: SnapshotLiveData::Absent,
            events: snapshot.events.with(&self.message.event_id),
            sessions: Sessions::default(),
        });
        Outcome::Ended(Box::new(EndedInteraction { facts, state, record }))
    }

    /// Warns of a step that is out of order, where the message's format documents the order.
    fn check_progress(&mut self, live: Option<&LiveData<'a>>) {
        let in_order = |progress: Progress| progress.is_in_order(live.map(|live| &live.received));
        if !self.message.progress.is_none_or(in_order) {
            self.report.warn(Warning::new(WarningCode::LifecycleOrder));
        }
    }

    /// An event that was saved but perhaps not published: publishes the snapshot as it is and applies
    /// nothing again. The message's own `jsonEvent` is still published with it.
    fn finish(&mut self, snapshot: &InteractionSnapshot<'a>) -> Outcome<'a> {
        match snapshot.alive() {
            // One session of several ended: nothing was published then either.
            Some(_) if matches!(self.message.event, Event::Ended(_)) => Outcome::Ignored,
            Some(SnapshotLiveData::Known(live)) => {
                let facts = snapshot.facts.clone();
                let context = ReadContext {
                    channel: &snapshot.facts.channel,
                    widget: snapshot.facts.widget.as_deref(),
                    creates: self.message.begins(Some(&snapshot.events)),
                };
                let own = propagate::read_own(self.rules, self.message, context, &mut self.report);
                let json_event = own.ok().and_then(|own| own.json_event);
                let worked_out =
                    propagate::work_out(self.rules, facts, live, json_event, &mut self.report);
                match worked_out {
                    Ok(mut enriched) => {
                        snapshot.carry_on(&self.message.event_id, &mut enriched.record);
                        Outcome::Enriched(Box::new(enriched))
                    }
                    Err(refusal) => refusal.into(),
                }
            }
            Some(_) => Refusal::unreadable("its interaction").into(),
            None => Outcome::Ended(Box::new(EndedInteraction {
                facts: snapshot.facts.clone(),
                state: match snapshot.state {
                    State::Handled => State::Handled,
                    // An expired interaction counts as ended.
                    State::Active | State::Ended | State::Expired => State::Ended,
                },
                record: snapshot.record.clone(),
            })),
        }
    }
}
