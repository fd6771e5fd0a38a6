//! Sources of pairs, and their priority (rule P1).

use std::borrow::Cow;

/// The name of a source, as a message gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The customer: a form or a page. Also where a message names no source.
    Customer,
    /// The agent.
    Agent,
    /// An integration: EDI, IVR, CRM.
    Integration,
    /// A name that is none of the three. It counts as the customer unless the rules rank it.
    Other(Cow<'a, str>),
}

impl<'a> Source<'a> {
    /// The source of this name.
    pub fn from_name(name: Cow<'a, str>) -> Source<'a> {
        match name.as_ref() {
            "customer" => Source::Customer,
            "agent" => Source::Agent,
            "integration" => Source::Integration,
            _ => Source::Other(name),
        }
    }

    /// The source, without a borrow of what it was read from.
    pub fn into_owned(self) -> Source<'static> {
        match self {
            Source::Customer => Source::Customer,
            Source::Agent => Source::Agent,
            Source::Integration => Source::Integration,
            Source::Other(name) => Source::Other(Cow::Owned(name.into_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            Source::Customer => "customer",
            Source::Agent => "agent",
            Source::Integration => "integration",
            Source::Other(name) => name,
        }
    }
}

/// The priority of sources: whose value a key has when several sources send one (P1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The names, strongest first; the three built-in ones are always among them.
    order: Vec<String>,
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::new(Vec::new())
    }
}

impl Priority {
    /// The order of the rules. Built-in names that it leaves out rank last, in their default order.
    pub fn new(mut order: Vec<String>) -> Priority {
        for name in ["customer", "agent", "integration"] {
            if !order.iter().any(|given| given == name) {
                order.push(name.to_owned());
            }
        }
        Priority { order }
    }

    /// The names, strongest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }

    /// The rank of a source; the smaller is the stronger. An unranked name counts as the customer.
    pub fn rank(&self, source: &Source<'_>) -> usize {
        let position = |name: &str| self.order.iter().position(|given| given == name);
        position(source.as_str()).or_else(|| position("customer")).unwrap_or(self.order.len())
    }

    /// Whether pairs of this source are the customer's: those that User Data Sets and the freeze of
    /// web chats govern.
    pub fn is_customer(&self, source: &Source<'_>) -> bool {
        match source {
            Source::Customer => true,
            Source::Agent | Source::Integration => false,
            Source::Other(name) => !self.order.iter().any(|given| given == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_sources_rank_last_in_default_order() {
        let priority = Priority::new(vec!["crm".to_owned(), "integration".to_owned()]);
        let rank = |name: &'static str| priority.rank(&Source::from_name(Cow::Borrowed(name)));
        assert!(rank("crm") < rank("integration"));
        assert!(rank("integration") < rank("customer"));
        assert!(rank("customer") < rank("agent"));
        assert_eq!(rank("bot"), rank("customer"), "an unranked name counts as the customer");
    }

    #[test]
    fn ranked_name_is_not_the_customer() {
        let priority = Priority::new(vec!["crm".to_owned()]);
        assert!(!priority.is_customer(&Source::from_name(Cow::Borrowed("crm"))));
        assert!(priority.is_customer(&Source::from_name(Cow::Borrowed("bot"))));
    }
}
