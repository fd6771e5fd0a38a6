//! NDJSON in, NDJSON out: the same ports without a broker.
//!
//! | port | here |
//! |---|---|
//! | `Source` | [`Lines`]: one delivery per line; blank lines are none |
//! | `Publisher` | [`Output`]: enriched messages in order, rejected lines to the dead letters |
//! | `Settler` | [`Ledger`]: counts what is still under way |
//!
//! There are no delays. What must wait is tried again right behind what it waits for if that comes in
//! the same batch (`Worker::wakes_within_batch`); else it stays in the [`room`](Room) until the
//! interaction it waits for is published, and is tried again then; at the end of input it is decided. Memory is bounded
//! whatever the size of the input: by the batch, the longest line that is kept, and the room.

mod lines;
mod output;
mod room;

pub use lines::{Line, Lines, ONE_PER_LINE, ends_within_json};
pub use output::{Ledger, Output};
pub use room::Room;
