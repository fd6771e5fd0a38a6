//! The words that counters go by: outcomes, what is published and how it is answered, stages.
//!
//! These are all the labels there are beside causes and reasons: fixed words, a counter for each. A word
//! more is a line here, and a row in docs/operating.md.

/// Declares an enum of fixed words that label counters.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Each of them, in the order of their counters.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word in labels.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}

labels! {
    /// How a message that was settled was finished; [`crate::pipeline::observe::tally`] has the table.
    Outcome {
        /// `interaction.enriched` is out.
        Enriched = "enriched",
        /// `interaction.ended` is out, or no queue is bound for it.
        Ended = "ended",
        /// Too late, or about nothing.
        Ignored = "ignored",
        /// The same event again.
        Duplicate = "duplicate",
        /// In a waiting queue.
        Waiting = "waiting",
        /// In the dead-letter queue.
        DeadLettered = "dead_lettered",
        /// Back in its queue.
        Requeued = "requeued",
    }
}

labels! {
    /// What is published.
    Kind {
        /// `interaction.enriched`.
        Enriched = "enriched",
        /// `interaction.ended`.
        Ended = "ended",
        /// The same interaction in the shape of another output.
        Further = "further",
        /// A message on its way to a waiting queue.
        Waiting = "waiting",
        /// A message on its way to the dead letters.
        DeadLetter = "dead_letter",
    }
}

labels! {
    /// How the broker answered for what was published.
    Answered {
        /// It took responsibility.
        Confirmed = "confirmed",
        /// No queue is bound for it.
        Returned = "returned",
        /// It refused.
        Refused = "refused",
        /// The connection was lost before it answered.
        Lost = "lost",
    }
}

labels! {
    /// A stage of the line.
    Stage {
        /// Is it JSON, which format, which interaction.
        Decode = "decode",
        /// The rows of the batch's interactions and parents are read.
        Read = "read",
        /// The rules are applied, and what is published is encoded.
        Apply = "apply",
        /// The rows are written and committed.
        Save = "save",
        /// Everything is published, and the broker has answered for it.
        Publish = "publish",
        /// Deliveries are acknowledged.
        Settle = "settle",
    }
}
