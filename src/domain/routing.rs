//! Where a caller is routed: to a callback, or on to an agent's queue (G2).
//!
//! Pure: the gate sends the request, bounds its time and handles a missing answer.

/// Where a gated interaction goes: `routing` of the outbound message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The offer.
    pub target: RoutingTarget,
    /// The widget's state as the endpoint answered; `None` without an answer.
    pub widget_state: Option<String>,
}

/// The offer to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingTarget {
    /// A callback.
    Callback,
    /// An agent, by the queue.
    AgentQueue,
}

impl RoutingTarget {
    /// Both.
    pub const ALL: [RoutingTarget; 2] = [RoutingTarget::Callback, RoutingTarget::AgentQueue];

    /// The word for it in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RoutingTarget::Callback => "callback",
            RoutingTarget::AgentQueue => "agent_queue",
        }
    }
}

impl Routing {
    /// The routing for a widget's state (G2): two states offer a callback, any other does not.
    pub fn from_state(state: String) -> Routing {
        let target = match state.as_str() {
            "offer_callback" | "offer_asap_callback" => RoutingTarget::Callback,
            _ => RoutingTarget::AgentQueue,
        };
        Routing { target, widget_state: Some(state) }
    }

    /// The routing without an answer (G2): no caller is promised a callback that may not come.
    pub fn without_answer() -> Routing {
        Routing { target: RoutingTarget::AgentQueue, widget_state: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_route_to_callback_and_others_to_the_agent_queue() {
        for (state, target) in [
            ("offer_callback", RoutingTarget::Callback),
            ("offer_asap_callback", RoutingTarget::Callback),
            ("offer_scheduled_callback", RoutingTarget::AgentQueue),
            ("Offer_Callback", RoutingTarget::AgentQueue),
            ("offer_callback ", RoutingTarget::AgentQueue),
            ("closed", RoutingTarget::AgentQueue),
            ("", RoutingTarget::AgentQueue),
        ] {
            assert_eq!(Routing::from_state(state.to_owned()).target, target, "{state:?}");
        }
        assert_eq!(Routing::without_answer().target, RoutingTarget::AgentQueue);
    }
}
