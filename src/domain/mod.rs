//! The rules: what happens to user data.
//!
//! Everything here is pure: no I/O, no clock, no async, no logging. Loading rules may fail; applying
//! them cannot: [`step`] is total. Rules are cited by their numbers (K, P, A, U, C, M, H, G), which
//! docs/rules.md lists.
//!
//! In reading order: a message ([`interaction`]), its data ([`value`], [`user_data`], [`received`],
//! [`source`]), the rules one by one ([`assign`], [`user_data_set`], [`copy_user_data`], [`metadata`],
//! [`history`]), how they are applied to a message ([`propagate`], [`life`]), and where a caller is routed
//! ([`routing`]).

pub mod assign;
pub mod byte_order_mark;
pub mod copy_user_data;
pub mod digest;
pub mod event_log;
pub mod history;
pub mod identity;
pub mod interaction;
pub mod json;
mod json_kind;
pub mod json_string;
mod key;
mod key_map;
pub mod key_names;
pub mod life;
pub mod live_data;
pub mod metadata;
pub mod progress;
pub mod propagate;
pub mod received;
pub mod refusal;
pub mod report;
pub mod routing;
pub mod rules;
pub mod saved_before;
pub mod sessions;
pub mod source;
pub mod user_data;
pub mod user_data_set;
pub mod value;

pub use event_log::{Digest, EventLog};
pub use history::{KeyList, Record};
pub use identity::Identity;
pub use interaction::{
    EndState, Event, Facts, InlineParent, Message, ParentStatus, State, UNSPECIFIED_CHANNEL,
};
pub use json::RawJson;
pub use key_names::KeyNames;
pub use life::{
    Attempt, EndedInteraction, InteractionSnapshot, Outcome, SnapshotLiveData, Step, step,
};
pub use live_data::LiveData;
pub use progress::Progress;
pub use propagate::Enriched;
pub use received::Received;
pub use refusal::{Detail, Refusal};
pub use report::{DropReason, Origin, RejectReason, Report, WaitFor, Warning, WarningCode};
pub use routing::{Routing, RoutingTarget};
pub use rules::{Revision, Rules};
pub use saved_before::SavedBefore;
pub use sessions::Sessions;
pub use source::{Priority, Source};
pub use user_data::{Attached, UserData};
pub use value::{JSON_EVENT, Key, Kind, Value};
