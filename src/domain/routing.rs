//! Where a caller is sent: to a callback, or on to an agent's queue (G2).
//!
//! Pure like the rest: who is asked, how long the answer may take and what becomes of no answer is the
//! business of whoever asks.

/// Where a gated interaction goes: `routing` of the outbound message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// What to offer.
    pub target: Target,
    /// The widget's state as it was answered; `None` where nobody answered.
    pub widget_state: Option<String>,
}

/// What a caller is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A callback.
    Callback,
    /// An agent, by the queue.
    AgentQueue,
}

impl Target {
    /// Both.
    pub const ALL: [Target; 2] = [Target::Callback, Target::AgentQueue];

    /// The word for it in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Callback => "callback",
            Target::AgentQueue => "agent_queue",
        }
    }
}

impl Routing {
    /// What a widget's state means (G2): two states offer a callback, any other does not.
    pub fn of_state(state: String) -> Routing {
        let target = match state.as_str() {
            "offer_callback" | "offer_asap_callback" => Target::Callback,
            _ => Target::AgentQueue,
        };
        Routing { target, widget_state: Some(state) }
    }

    /// What no answer means (G2): nobody is promised a callback that may not come.
    pub fn without_answer() -> Routing {
        Routing { target: Target::AgentQueue, widget_state: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_offer_a_callback_and_nothing_else_does() {
        for (state, target) in [
            ("offer_callback", Target::Callback),
            ("offer_asap_callback", Target::Callback),
            ("offer_scheduled_callback", Target::AgentQueue),
            ("Offer_Callback", Target::AgentQueue),
            ("offer_callback ", Target::AgentQueue),
            ("closed", Target::AgentQueue),
            ("", Target::AgentQueue),
        ] {
            assert_eq!(Routing::of_state(state.to_owned()).target, target, "{state:?}");
        }
        assert_eq!(Routing::without_answer().target, Target::AgentQueue);
    }
}
