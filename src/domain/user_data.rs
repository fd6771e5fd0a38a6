//! User data: as it arrives ([`Attached`]), as several sources merge it ([`Received`]), and finished
//! ([`UserData`]).
//!
//! Reading turns the three shapes of rule K4 into one list of pairs and applies the check of key
//! names (K6). Nested values are never looked into.

use std::borrow::Cow;
use std::fmt;

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::json::RawJson;
use super::key_map::KeyMap;
use super::key_names::KeyNames;
use super::received::{Kept, Received};
use super::report::{DropReason, Origin, Report, Warning, WarningCode};
use super::source::Source;
use super::value::{Key, Kind, Value};

/// A set of keys that rules list, in their order.
pub(crate) type KeySet = IndexSet<Box<[u8]>, RandomState>;

// ------------------------------------------------------------------------------------ as it comes

/// User data as a message holds it, not yet looked at: whether it is looked at depends on where the
/// interaction stands in its life.
///
/// `Debug` gives its length: what it holds is what a customer sent (K8).
#[derive(Clone)]
pub enum Attached<'a> {
    /// JSON of one of the three shapes of rule K4, or of none.
    Json(RawJson<'a>),
    /// Pairs that a format has already taken apart.
    Pairs(Vec<(Key<'a>, Value<'a>)>),
    /// The same as JSON, of a text that a format has unpacked. It was checked there.
    Unpacked(String),
}

impl fmt::Debug for Attached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attached::Json(json) => write!(f, "Attached({} bytes)", json.get().len()),
            Attached::Unpacked(json) => write!(f, "Attached({} bytes)", json.len()),
            Attached::Pairs(pairs) => f.debug_list().entries(pairs).finish(),
        }
    }
}

/// The data is no map of any known shape (K4); what it is instead, as a fragment without values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAMap(Cow<'static, str>);

impl NotAMap {
    fn is(kind: Kind) -> NotAMap {
        let kind = match kind {
            Kind::Null => "null",
            Kind::Bool => "a truth value",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        };
        NotAMap(format!("is {kind}, and no object, typed array or list").into())
    }

    fn element(number: usize, what: &str) -> NotAMap {
        NotAMap(format!("is a list whose element {number} {what}").into())
    }

    /// The same of one of several lots.
    pub(crate) fn of_lot(self, number: usize, lots: usize) -> NotAMap {
        match lots {
            1 => self,
            _ => NotAMap(format!("(lot {number} of {lots}) {self}").into()),
        }
    }
}

impl<'a> Attached<'a> {
    /// Reads the pairs that `source` attached, when `set_ms` says, if it does: K6 first, then the last of
    /// each key wins (K4). Keys that are refused and keys that repeat go into the report.
    ///
    /// # Errors
    /// [`NotAMap`] when the data is no object, typed array or list.
    pub(crate) fn read(
        &self,
        names: KeyNames,
        source: &Source<'a>,
        set_ms: Option<i64>,
        report: &mut Report<'a>,
    ) -> Result<Received<'a>, NotAMap> {
        let mut pairs = KeyMap::default();
        let take = |pairs: &mut KeyMap<'a, _>, key: Key<'a>, value, report: &mut Report<'a>| {
            if !names.allow(&key) {
                report.drop(key, DropReason::InvalidKey);
            } else if let Err(taken) =
                pairs.insert(key, Kept { value, source: source.clone(), set_ms })
            {
                report.warn(Warning::about(WarningCode::DuplicateKey, &taken.key));
                taken.there.value = taken.value.value;
            }
        };
        match self {
            Attached::Unpacked(json) => {
                // The pairs read from it have to outlive it.
                let mut noted = Report::default();
                let json = Attached::Json(RawJson::known(json));
                let read = json.read(names, source, set_ms, &mut noted);
                report.take_owned(noted);
                for (key, kept) in read?.pairs.into_pairs() {
                    let value = kept.value.into_owned();
                    let kept = Kept { value, source: source.clone(), set_ms };
                    if let Err(taken) = pairs.insert(key.into_owned(), kept) {
                        *taken.there = taken.value;
                    }
                }
            }
            Attached::Pairs(given) => {
                pairs = KeyMap::with_capacity(given.len());
                for (key, value) in given {
                    take(&mut pairs, key.clone(), value.clone(), report);
                }
            }
            Attached::Json(json) => match json.kind() {
                Kind::Null => {}
                Kind::Object => {
                    let members = json.members().ok_or_else(|| NotAMap::is(json.kind()))?;
                    pairs = KeyMap::with_capacity(members.len());
                    for (key, raw) in members {
                        take(&mut pairs, key, Value::from_raw(raw), report);
                    }
                }
                Kind::Array => {
                    let elements = json.elements().ok_or_else(|| NotAMap::is(json.kind()))?;
                    pairs = KeyMap::with_capacity(elements.len());
                    for (n, element) in elements.into_iter().enumerate() {
                        let read = read_element(element, report);
                        let (key, value) = read.map_err(|what| NotAMap::element(n + 1, what))?;
                        take(&mut pairs, key, value, report);
                    }
                }
                kind @ (Kind::Bool | Kind::Number | Kind::String) => return Err(NotAMap::is(kind)),
            },
        }
        Ok(Received { pairs })
    }

    /// The same, without a borrow of what it was read from.
    pub fn into_owned(self) -> Attached<'static> {
        match self {
            Attached::Json(json) => Attached::Unpacked(json.get().to_owned()),
            Attached::Unpacked(json) => Attached::Unpacked(json),
            Attached::Pairs(pairs) => {
                let owned =
                    |(key, value): (Key<'_>, Value<'_>)| (key.into_owned(), value.into_owned());
                Attached::Pairs(pairs.into_iter().map(owned).collect())
            }
        }
    }

    /// Whether there is anything in it at all.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Attached::Pairs(pairs) => pairs.is_empty(),
            Attached::Json(json) => is_blank(*json),
            Attached::Unpacked(json) => is_blank(RawJson::known(json)),
        }
    }
}

fn is_blank(json: RawJson<'_>) -> bool {
    let inner = json.get().trim_matches(['{', '}', '[', ']', ' ', '\t', '\n', '\r']);
    inner.is_empty() || json.kind() == Kind::Null
}

/// Reads `{key,type,value}` or `{k,v}`: `key` counts before `k`, a missing value is `null` (K4).
fn read_element<'a>(
    element: RawJson<'a>,
    report: &mut Report<'a>,
) -> Result<(Key<'a>, Value<'a>), &'static str> {
    let (mut key, mut k, mut value, mut v, mut kind_name) = (None, None, None, None, None);
    for (name, raw) in element.members().ok_or("is no object")? {
        // `null` counts as absent where a name is meant; as a value it is one.
        let named = (raw.kind() != Kind::Null).then_some(raw);
        match name.as_bytes() {
            b"key" => key = named,
            b"k" => k = named,
            b"type" => kind_name = named,
            b"value" => value = Some(raw),
            b"v" => v = Some(raw),
            _ => {}
        }
    }
    let key = key.or(k).ok_or("has neither key nor k")?;
    let key = key.string_bytes().map(Key::from_bytes).ok_or("has a key that is no string")?;
    let value = value.or(v).map_or_else(|| Value::from_json("null"), Value::from_raw);
    let known = |name: RawJson<'_>| {
        name.string_bytes().is_some_and(|name| matches!(name.as_ref(), b"str" | b"int" | b"kvlist"))
    };
    if kind_name.is_some_and(|name| !known(name)) {
        report.warn(Warning::about(WarningCode::UnknownType, &key));
    }
    Ok((key, value))
}

// ---------------------------------------------------------------------------------------- finished

/// The finished data of an interaction: one value per key, each with its origin (P2).
#[derive(Clone, Debug, Default)]
pub struct UserData<'a> {
    pairs: KeyMap<'a, (Value<'a>, Origin)>,
}

impl<'a> UserData<'a> {
    /// No pairs yet, and room for so many.
    pub(crate) fn with_capacity(pairs: usize) -> UserData<'a> {
        UserData { pairs: KeyMap::with_capacity(pairs) }
    }

    /// Adds a pair unless its key is present. Callers add in order of precedence (C6), so a pair that is
    /// present takes precedence and the new one is reported. Only the first `rivals` can hold the key.
    pub(crate) fn fill(
        &mut self,
        rivals: usize,
        key: Key<'a>,
        value: Value<'a>,
        origin: Origin,
        report: &mut Report<'a>,
    ) {
        if let Err(taken) = self.pairs.insert_beside(rivals, key, (value, origin)) {
            report.drop(taken.key, DropReason::Overridden);
        }
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The pairs with their origins.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key<'a>, &Value<'a>, Origin)> {
        self.pairs.iter().map(|(key, (value, origin))| (key, value, *origin))
    }

    /// The value under exactly this name (K1).
    pub fn get(&self, key: &Key<'_>) -> Option<&Value<'a>> {
        self.pairs.get(key.as_bytes()).map(|(value, _)| value)
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether it is clear at a glance that the JSON object that would be published is no larger than
    /// this (K7): no byte of a key takes more than six.
    pub(crate) fn surely_fits(&self, bytes: usize) -> bool {
        let at_most = |(key, value, _): (&Key<'_>, &Value<'_>, Origin)| {
            6 * key.as_bytes().len() + value.as_json().len() + r#"":,""#.len()
        };
        self.iter().map(at_most).sum::<usize>() + "{}".len() <= bytes
    }

    /// The size of the JSON object that would be published, in bytes (K7).
    pub fn json_len(&self) -> usize {
        let pairs: usize =
            self.iter().map(|(key, value, _)| key.json_len() + 1 + value.as_json().len()).sum();
        pairs + self.pairs.len().saturating_sub(1) + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached(json: &str) -> Attached<'_> {
        Attached::Json(RawJson::check(json).expect("JSON"))
    }

    #[test]
    fn reads_pairs_of_lists_with_either_member_name() {
        let mut report = Report::default();
        let json = r#"[{"k":"a","v":1},{"key":"b","k":"x","value":2,"v":3},{"key":"c"},{"key":null,"k":"d"}]"#;
        let pairs = attached(json)
            .read(KeyNames::Any, &Source::Customer, None, &mut report)
            .expect("a list");
        let texts: Vec<_> = pairs.iter().map(|(k, v, _)| format!("{k}={}", v.as_json())).collect();
        assert_eq!(texts, ["a=1", "b=2", "c=null", "d=null"]);
    }

    #[test]
    fn unknown_type_names_warn_and_escaped_names_are_known() {
        for (json, warned) in [
            (r#"[{"key":"a","type":"str"},{"key":"b","type":null}]"#, false),
            (r#"[{"key":"a","type":"\u0069nt"}]"#, false),
            (r#"[{"key":"a","type":"Str"}]"#, true),
            (r#"[{"key":"a","type":1}]"#, true),
        ] {
            let mut report = Report::default();
            attached(json)
                .read(KeyNames::Any, &Source::Customer, None, &mut report)
                .expect("a typed array");
            assert_eq!(report.warnings().len() > 0, warned, "{json}");
        }
    }

    #[test]
    fn debug_shows_no_received_value() {
        let attached = attached(r#"{"name":"planted"}"#);
        assert_eq!(format!("{attached:?}"), "Attached(18 bytes)");
        let pairs = Attached::Pairs(vec![(Key::from("name"), Value::from_text("planted"))]);
        assert!(!format!("{pairs:?}").contains("planted"));
    }

    #[test]
    fn rejects_values_that_are_no_map_with_a_detail() {
        const NO_MAP: &str = "and no object, typed array or list";
        for (json, what) in [
            ("1", format!("is a number, {NO_MAP}")),
            ("true", format!("is a truth value, {NO_MAP}")),
            ("\"a=b\"", format!("is a string, {NO_MAP}")),
            ("[1]", "is a list whose element 1 is no object".to_owned()),
            (r#"[{"k":"a"},[]]"#, "is a list whose element 2 is no object".to_owned()),
            (r#"[{"v":1}]"#, "is a list whose element 1 has neither key nor k".to_owned()),
            (r#"[{"key":5}]"#, "is a list whose element 1 has a key that is no string".to_owned()),
        ] {
            let read =
                attached(json).read(KeyNames::Any, &Source::Customer, None, &mut Report::default());
            assert_eq!(read.err().map(|what| what.to_string()), Some(what), "{json}");
        }
    }
}
