//! Genesys Web Engagement's `copyUserData`: which of a parent's pairs are copied to a child (rules
//! C1 to C5).

use super::user_data::KeySet;
use super::value::{JSON_EVENT, Key};

/// The filter for every pair of channels.
#[derive(Clone, Debug)]
pub struct CopyUserData {
    pub(crate) filter: CopyFilter,
    /// The parents' channels that the filter applies to.
    pub(crate) parents: Vec<String>,
    /// The children's channels that the filter applies to.
    pub(crate) children: Vec<String>,
    /// Overrides for one pair of channels; the first match wins (C5).
    pub(crate) routes: Vec<Route>,
}

/// An override for one pair of channels.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) parent: String,
    pub(crate) child: String,
    pub(crate) filter: CopyFilter,
}

/// The keys that `copyUserData` selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFilter {
    /// Nothing.
    None,
    /// Every key but `jsonEvent`.
    All,
    /// The listed keys, but `jsonEvent`.
    Keys(KeySet),
}

/// A warning about a legal value of `copyUserData` (C3, C4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFilterWarning {
    /// `all` or `no`, in any case, stands as a key in a list.
    KeywordInList,
    /// `jsonEvent` is listed.
    JsonEventListed,
}

impl CopyUserData {
    /// The channels of Genesys' documentation, copying nothing.
    pub(crate) fn none() -> CopyUserData {
        CopyUserData {
            filter: CopyFilter::None,
            parents: vec!["webengagement".to_owned()],
            children: vec!["chat".to_owned(), "webcallback".to_owned()],
            routes: Vec::new(),
        }
    }

    /// The filter between a parent and a child of these channels (C5).
    pub(crate) fn between(&self, parent: &str, child: &str) -> &CopyFilter {
        let route = self.routes.iter().find(|route| route.parent == parent && route.child == child);
        match route {
            Some(route) => &route.filter,
            None if contains(&self.parents, parent) && contains(&self.children, child) => {
                &self.filter
            }
            None => &CopyFilter::None,
        }
    }

    /// Whether a child of this channel could receive any pair, from a parent of any channel that the
    /// rules name (C9).
    pub(crate) fn may_copy_to(&self, child: &str) -> bool {
        let routed = self.routes.iter().map(|route| &route.parent);
        self.parents.iter().chain(routed).any(|parent| self.between(parent, child).selects_any())
    }
}

fn contains(channels: &[String], channel: &str) -> bool {
    channels.iter().any(|given| given == channel)
}

impl CopyFilter {
    /// Parses Genesys' string (C1, C3, C4). Every string has a meaning; a malformed one never means
    /// "copy all".
    pub fn parse(value: &str) -> (CopyFilter, Vec<CopyFilterWarning>) {
        match value.trim() {
            "" | "no" => (CopyFilter::None, Vec::new()),
            "all" => (CopyFilter::All, Vec::new()),
            list => {
                let mut warnings = Vec::new();
                let mut keys = KeySet::default();
                for token in list.split(';').map(str::trim).filter(|token| !token.is_empty()) {
                    let keyword =
                        token.eq_ignore_ascii_case("all") || token.eq_ignore_ascii_case("no");
                    if keyword {
                        warnings.push(CopyFilterWarning::KeywordInList);
                    }
                    if token.as_bytes() == JSON_EVENT.as_bytes() {
                        warnings.push(CopyFilterWarning::JsonEventListed);
                    }
                    keys.insert(Box::from(token.as_bytes()));
                }
                warnings.dedup();
                (CopyFilter::Keys(keys), warnings)
            }
        }
    }

    /// Whether a parent's pair of this key is copied.
    pub(crate) fn selects(&self, key: &Key<'_>) -> bool {
        *key != JSON_EVENT
            && match self {
                CopyFilter::None => false,
                CopyFilter::All => true,
                CopyFilter::Keys(keys) => keys.contains(key.as_bytes()),
            }
    }

    /// An upper bound of how many of `pairs` pairs it selects.
    pub(crate) fn selects_at_most(&self, pairs: usize) -> usize {
        match self {
            CopyFilter::None => 0,
            CopyFilter::All => pairs,
            CopyFilter::Keys(keys) => pairs.min(keys.len()),
        }
    }

    /// Whether it selects any key.
    fn selects_any(&self) -> bool {
        match self {
            CopyFilter::None => false,
            CopyFilter::All => true,
            CopyFilter::Keys(keys) => keys.iter().any(|key| key.as_ref() != JSON_EVENT.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &[&str]) -> CopyFilter {
        CopyFilter::Keys(list.iter().map(|key| Box::from(key.as_bytes())).collect())
    }

    #[test]
    fn parses_filters_with_warnings() {
        use CopyFilterWarning::{JsonEventListed, KeywordInList};
        for (value, filter, warnings) in [
            ("", CopyFilter::None, vec![]),
            (" \t ", CopyFilter::None, vec![]),
            ("no", CopyFilter::None, vec![]),
            (" no ", CopyFilter::None, vec![]),
            ("all", CopyFilter::All, vec![]),
            (" all ", CopyFilter::All, vec![]),
            ("ALL", keys(&["ALL"]), vec![KeywordInList]),
            ("No", keys(&["No"]), vec![KeywordInList]),
            ("all;", keys(&["all"]), vec![KeywordInList]),
            ("rule;all", keys(&["rule", "all"]), vec![KeywordInList]),
            (";;", keys(&[]), vec![]),
            ("jsonEvent;rule", keys(&["jsonEvent", "rule"]), vec![JsonEventListed]),
            (" a b ;c;a b", keys(&["a b", "c"]), vec![]),
        ] {
            assert_eq!(CopyFilter::parse(value), (filter, warnings), "{value:?}");
        }
    }

    #[test]
    fn may_copy_to_is_false_where_no_key_can_be_copied() {
        let mut rules = CopyUserData::none();
        assert!(!rules.may_copy_to("chat"), "no value");
        rules.filter = CopyFilter::parse("jsonEvent").0;
        assert!(!rules.may_copy_to("chat"), "only jsonEvent");
        rules.filter = CopyFilter::All;
        assert!(rules.may_copy_to("chat"));
        assert!(!rules.may_copy_to("email"));
        for child in ["chat", "webcallback"] {
            let parent = "webengagement".to_owned();
            let route = Route { parent, child: child.to_owned(), filter: CopyFilter::None };
            rules.routes.push(route);
            assert!(!rules.may_copy_to(child), "a route overrides the value");
        }
    }
}
