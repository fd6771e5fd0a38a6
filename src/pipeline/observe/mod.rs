//! What is seen of a lane from outside: counters, progress, waiting messages, traces.
//!
//! | module | what |
//! |---|---|
//! | [`tally`] | counters of a lane |
//! | [`labels`] | the words by which they count |
//! | [`histogram`] | how long stages take, and how large batches are |
//! | [`progress`] | what a lane has in hand, and when it last made a step; liveness |
//! | [`waits`] | the messages that wait, and for which interaction |
//! | [`spans`] | the spans that a tracing system receives |
//! | [`message_trace`], `batch_trace` | the trace of a message; of a batch, and its spans |

pub(crate) mod batch_trace;
pub mod histogram;
pub mod labels;
pub mod message_trace;
pub mod progress;
pub mod spans;
pub mod tally;
pub mod waits;
