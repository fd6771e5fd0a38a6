//! The life of an interaction: what a message does to it, given where it stands.
//!
//! [`step`] is the whole of it: rules, a message, the interaction and its parent as they stand, in;
//! an outcome and the interaction as it stands afterwards, out. Total: every message has an
//! outcome. First comes the life (repeat, after the end, not known yet), then the message's data:
//! what comes after the end is not even looked at.

mod parent;
mod renewal;

use super::Record;
use super::event_log::EventLog;
use super::interaction::{EndState, Event, Facts, Message, State};
use super::live_data::LiveData;
use super::progress::Progress;
use super::propagate::{self, Enriched, Reading};
use super::refusal::Refusal;
use super::report::{Report, WaitFor, Warning, WarningCode};
use super::rules::Rules;
use super::saved_before::SavedBefore;
use super::sessions::Sessions;

/// What a message comes to.
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
    /// What of its history is from before it began anew.
    pub saved_before: SavedBefore,
    /// Its live data.
    pub live: StandingLive<'a>,
    /// The events that brought it here.
    pub events: EventLog,
    /// Its sessions, where its vendor counts several.
    pub sessions: Sessions,
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
    message.warnings.iter().for_each(|warning| report.warn(warning.clone()));
    let mut walk = Walk { rules, message, attempt, report, next: None };
    let outcome = walk.outcome(standing, parent);
    // Whatever is rejected in the end has changed nothing.
    let known = walk.next.as_ref().or(standing).map(|standing| &standing.events);
    let begins = message.begins(known);
    Step { outcome, report: walk.report, next: walk.next, begins }
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
            (Event::Ended(state), Some(live)) => self.end_session(standing, live, state),
            (Event::Ended(state), None) => self.end(standing, state),
            // An expiry is no end that was said: the conversation begins anew.
            (Event::Created | Event::Opened, None) if standing.state == State::Expired => {
                self.create(Some(standing), parent)
            }
            (Event::Created | Event::Opened | Event::Updated, None) => {
                self.report.warn(Warning::of(WarningCode::AfterEnd));
                Outcome::Ignored
            }
            (Event::Created, Some(_)) => self.create(Some(standing), parent),
            (Event::Opened | Event::Updated, Some(StandingLive::Known(live))) => {
                self.update(standing, live)
            }
            (Event::Opened | Event::Updated, Some(_)) => {
                Refusal::unreadable("its interaction").into()
            }
        }
    }

    fn unknown(&mut self, parent: Option<&Standing<'a>>) -> Outcome<'a> {
        match self.message.event {
            Event::Created | Event::Opened => self.create(None, parent),
            Event::Updated | Event::Ended(_) if !self.attempt.last_for_interaction => {
                Outcome::Waiting(WaitFor::Interaction(self.message.identity.clone()))
            }
            Event::Updated => Refusal::interaction_unknown().into(),
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
            return Refusal::without_channel().into();
        }
        let reading =
            Reading { channel: &facts.channel, widget: facts.widget.as_deref(), creates: true };
        let own = match propagate::read_own(self.rules, self.message, reading, &mut self.report) {
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
        self.save(standing, facts, live, worked_out)
    }

    fn update(&mut self, standing: &Standing<'a>, live: &LiveData<'a>) -> Outcome<'a> {
        let said = &self.message.facts;
        let known = &standing.facts;
        // The first real channel counts as if it had been there at the creation.
        let settles = !known.names_channel() && said.names_channel();
        let channel = if settles { &said.channel } else { &known.channel };
        let facts = Facts {
            channel: channel.clone(),
            queue: said.queue.clone().or_else(|| known.queue.clone()),
            call_target: said.call_target.clone().or_else(|| known.call_target.clone()),
            direction: known.direction.clone().or_else(|| said.direction.clone()),
            created_at: known.created_at.clone().or_else(|| said.created_at.clone()),
            ..known.clone()
        };
        let reading = Reading { channel, widget: known.widget.as_deref(), creates: false };
        let own = match propagate::read_own(self.rules, self.message, reading, &mut self.report) {
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
        self.save(Some(standing), facts, live, worked_out)
    }

    fn save(
        &mut self,
        standing: Option<&Standing<'a>>,
        facts: Facts<'a>,
        live: LiveData<'a>,
        worked_out: Result<Enriched<'a>, Refusal>,
    ) -> Outcome<'a> {
        let mut enriched = match worked_out {
            Ok(enriched) => enriched,
            Err(refusal) => return refusal.into(),
        };
        let id = &self.message.event_id;
        let (saved_before, events) = match standing {
            None => (SavedBefore::default(), EventLog::default().with(id)),
            Some(old) => old.carry_on(id, &mut enriched.record),
        };
        let active = standing.filter(|standing| standing.alive().is_some());
        let mut sessions = active.map(|known| known.sessions.clone()).unwrap_or_default();
        if let Some(session) = &self.message.session {
            sessions.start(session);
        }
        self.next = Some(Standing {
            state: State::Active,
            facts,
            record: enriched.record.clone(),
            saved_before,
            live: StandingLive::Known(live),
            events,
            sessions,
        });
        Outcome::Enriched(Box::new(enriched))
    }

    /// An end of an active interaction: where another of its sessions is open, it goes on, and nothing is
    /// kept of the message but that its session has ended.
    fn end_session(
        &mut self,
        standing: &Standing<'a>,
        live: &StandingLive<'a>,
        said: EndState,
    ) -> Outcome<'a> {
        let mut sessions = standing.sessions.clone();
        if self.message.session.as_ref().is_none_or(|session| sessions.end(session)) {
            return self.end(standing, said);
        }
        if matches!(live, StandingLive::Unreadable) {
            // To save the row would lose what is in it.
            return Refusal::unreadable("its interaction").into();
        }
        self.note_ignored_data();
        let events = standing.events.with(&self.message.event_id);
        self.next = Some(Standing { sessions, events, ..standing.clone() });
        Outcome::Ignored
    }

    /// Warns of data that an end brought.
    fn note_ignored_data(&mut self) {
        if self.message.own.iter().any(|(_, attached)| !attached.is_blank()) {
            self.report.warn(Warning::of(WarningCode::AttachedDataIgnored));
        }
    }

    fn end(&mut self, standing: &Standing<'a>, said: EndState) -> Outcome<'a> {
        self.note_ignored_data();
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
            saved_before: SavedBefore::default(),
            live: StandingLive::Absent,
            events: standing.events.with(&self.message.event_id),
            sessions: Sessions::default(),
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
            // One session of several ended: nothing was published then either.
            Some(_) if matches!(self.message.event, Event::Ended(_)) => Outcome::Ignored,
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
                    Ok(mut enriched) => {
                        standing.carry_on(&self.message.event_id, &mut enriched.record);
                        Outcome::Enriched(Box::new(enriched))
                    }
                    Err(refusal) => refusal.into(),
                }
            }
            Some(_) => Refusal::unreadable("its interaction").into(),
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
