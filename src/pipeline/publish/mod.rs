//! The second half of a lane: a saved batch is published, confirmed by the broker, and settled.
//!
//! | module | what |
//! |---|---|
//! | `stage` | publishes a batch, waits for its confirms, settles its deliveries |
//! | `gate_queue` | holds the messages that wait for the status gate's answer (G3) |
//! | `downstream` | holds a batch while no consumer downstream takes it |
//! | `settlement_plan` | what is to become of each delivery of a batch |
//! | `publication` | one message on its way to all its outputs |

mod downstream;
mod gate_queue;
mod publication;
mod settlement_plan;
pub(crate) mod stage;
