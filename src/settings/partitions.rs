//! `[partitions]`: order by conversation, however many processes there are.

use super::amqp::{AMQP_NAME_MAX_BYTES, WAITING_PREFIX_MAX_BYTES};
use super::flows::Source;
use super::raw::Raw;
use crate::broker::INTAKE;
use crate::pipeline::partitions::Key;

/// How work queues are partitioned (`[partitions]`).
#[derive(Clone, Debug)]
pub struct Partitions {
    /// How many partitions each work queue has; 0: none.
    pub count: u16,
    /// What is kept together.
    pub key: Key,
    /// The header that names the conversation; stronger than `key`.
    pub header: Option<String>,
    /// Whether this process passes messages on to the partitions.
    pub pass_on: bool,
}

/// Each has a lane in every process, with two channels and a connection to the store.
const COUNT_MAX: u16 = 64;

impl Partitions {
    pub(super) fn read(raw: &mut Raw, sources: &[Source]) -> Partitions {
        let partitions = Partitions {
            count: raw.integer("partitions.count", 0..=COUNT_MAX),
            key: raw.text("partitions.key", "`conversation` or `interaction`", |word| match word {
                "conversation" => Some(Key::Conversation),
                "interaction" => Some(Key::Interaction),
                _ => None,
            }),
            header: raw.text("partitions.header", "a header's name, or \"\" for none", |name| {
                // A header's name is a short string of AMQP.
                let fits = name.len() <= AMQP_NAME_MAX_BYTES;
                fits.then(|| (!name.is_empty()).then(|| name.to_owned()))
            }),
            pass_on: raw.boolean("partitions.pass_on"),
        };
        if partitions.count > 0 {
            for source in sources {
                partitions.check(raw, source);
            }
        }
        partitions
    }

    fn check(&self, raw: &mut Raw, source: &Source) {
        if source.lanes > 1 {
            let what = "gives each partition its own lane, so `lanes` stays 1";
            raw.problem("partitions.count", what);
        }
        // A dot and `intake`, which is longer than any number of a partition.
        let added = 1 + INTAKE.len();
        let is_too_long = source.queue.len() + added > AMQP_NAME_MAX_BYTES
            || source.waiting_prefix.len() + added > WAITING_PREFIX_MAX_BYTES;
        if is_too_long {
            let what = format!("makes names too long that begin with the queue `{}`", source.queue);
            raw.problem("partitions.count", what);
        }
    }
}
