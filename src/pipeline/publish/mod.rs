//! The second half of a lane: a saved batch is published, confirmed by the broker, and settled.
//!
//! | module | what |
//! |---|---|
//! | [`gate_queue`] | holds what waits for the status gate's answer (G3) |
//! | `stage` | publishes a batch, waits for its confirms, settles its deliveries |
//! | `publication` | one message on its way to all its outputs |

pub mod gate_queue;
mod publication;
pub(crate) mod stage;
