//! NDJSON in, NDJSON out: the ports without a broker.
//!
//! | port | here |
//! |---|---|
//! | `Source` | [`LineSource`]: one delivery per line; blank lines are none |
//! | `Publisher` | [`LinePublisher`]: enriched messages in order, rejected lines to the dead letters |
//! | `Settler` | [`LineSettler`]: counts the lines in flight |
//!
//! There are no delays. A line that must wait is tried again right behind the line it waits for if that
//! is in the same batch (`Worker::wakes_within_batch`); else it stays in [`WaitingLines`] until the
//! interaction it waits for is published, and is tried again then; at the end of the input it is decided.
//! Memory is bounded for any input: by the batch, the longest line that is kept, and the waiting lines.

mod line;
mod output;
mod source;
mod waiting;

pub(crate) use output::{LinePublisher, LineSettler};
pub(crate) use source::{LineSource, ONE_PER_LINE, ends_within_json};
pub(crate) use waiting::WaitingLines;
