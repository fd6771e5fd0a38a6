//! A message on its way to all its outputs, and which outputs have taken it.
//!
//! What has been taken is not published again while its batch is held.

use crate::pipeline::ports::{Delivery, Outgoing, PublishOutcome, Published};

/// A message and what of it has been taken: what was is not published again while its batch is held.
pub(crate) struct Publication {
    pub(crate) message: Box<Published>,
    primary_taken: bool,
    /// In the order of [`Published::further`].
    further_taken: Vec<bool>,
}

impl Publication {
    pub(crate) fn new(message: Box<Published>) -> Publication {
        let further_taken = vec![false; message.further.len()];
        Publication { message, primary_taken: false, further_taken }
    }

    /// What of it is still to be published: the message itself, then what goes to other outputs.
    pub(crate) fn open<D: Delivery>(&self) -> impl Iterator<Item = Outgoing<'_, D>> {
        let message = &*self.message;
        let primary = (!self.primary_taken).then_some(Outgoing::Enriched(message));
        let further = message.further.iter().zip(&self.further_taken);
        let further = further.filter(|(_, taken)| !**taken);
        primary
            .into_iter()
            .chain(further.map(move |(further, _)| Outgoing::Further { of: message, further }))
    }

    /// Notes the answers for what was open, in that order, and says what they come to: the worst of
    /// them. A return from an output that is not mandatory is only counted.
    pub(crate) fn note(
        &mut self,
        answers: &mut impl Iterator<Item = PublishOutcome>,
    ) -> PublishOutcome {
        let mut worst = PublishOutcome::Confirmed;
        if !self.primary_taken {
            let answer = answers.next().unwrap_or(PublishOutcome::Refused);
            self.primary_taken = answer == PublishOutcome::Confirmed;
            worst = answer;
        }
        let further = self.message.further.iter().zip(&mut self.further_taken);
        for (further, taken) in further.filter(|(_, taken)| !**taken) {
            let answer = match answers.next().unwrap_or(PublishOutcome::Refused) {
                PublishOutcome::Returned if !further.mandatory => PublishOutcome::Confirmed,
                answer => answer,
            };
            *taken = answer == PublishOutcome::Confirmed;
            worst = worst.max(answer);
        }
        worst
    }
}
