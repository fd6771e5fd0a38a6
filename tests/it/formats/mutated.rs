//! Random bodies, made from the vendors' own by changing types, dropping, doubling and moving members:
//! none makes the program panic, and every one that is refused is told which member is wrong, without
//! its value (K8).
//!
//! The bodies come from a seed. A run of all tests takes some ten thousand;
//! `THROUGHLINE_TEST_MESSAGES` and `THROUGHLINE_TEST_SEED` ask for others:
//!
//! ```text
//! THROUGHLINE_TEST_MESSAGES=1000000 cargo test --release --test it -- formats::mutated --nocapture
//! ```

use std::collections::{BTreeMap, HashSet};

use serde_json::Value as Json;
use throughline::domain::{Attempt, Rules};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Hints, body};
use throughline::pipeline::save::table::InteractionTable;

use super::payloads::payloads;
use crate::simulation::number;
use crate::simulation::random::Random;

/// A body as it is written: members may stand twice.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// A text that stands for what a customer sent.
const MARK: &str = "d41d8cd98f00";

/// What stands where something else was expected.
const LEAVES: [&str; 12] = [
    "null",
    "true",
    "false",
    "0",
    "-1.50",
    "1e999",
    r#""""#,
    r#""d41d8cd98f00""#,
    r#""a\u0000d41d8cd98f00""#,
    r#""\ud800d41d8cd98f00""#,
    r#""{\"k\":\"d41d8cd98f00\"}""#,
    r#""ended""#,
];

impl Tree {
    fn of(json: &Json) -> Tree {
        match json {
            Json::Array(elements) => Tree::List(elements.iter().map(Tree::of).collect()),
            Json::Object(members) => Tree::Object(
                members.iter().map(|(name, inner)| (name.clone(), Tree::of(inner))).collect(),
            ),
            leaf => Tree::Leaf(leaf.to_string()),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Tree::Leaf(json) => out.push_str(json),
            Tree::List(elements) => {
                out.push('[');
                for (n, element) in elements.iter().enumerate() {
                    out.push_str(if n > 0 { "," } else { "" });
                    element.write(out);
                }
                out.push(']');
            }
            Tree::Object(members) => {
                out.push('{');
                for (n, (name, inner)) in members.iter().enumerate() {
                    out.push_str(if n > 0 { "," } else { "" });
                    out.push_str(&Json::from(name.as_str()).to_string());
                    out.push(':');
                    inner.write(out);
                }
                out.push('}');
            }
        }
    }

    fn names(&self, found: &mut HashSet<String>) {
        match self {
            Tree::Leaf(_) => {}
            Tree::List(elements) => elements.iter().for_each(|element| element.names(found)),
            Tree::Object(members) => members.iter().for_each(|(name, inner)| {
                found.insert(name.clone());
                inner.names(found);
            }),
        }
    }

    /// A random place of it: the root, or any member or element.
    fn place(&mut self, random: &mut Random) -> &mut Tree {
        let inner = match self {
            Tree::Object(members) if !members.is_empty() => members.len(),
            Tree::List(elements) if !elements.is_empty() => elements.len(),
            _ => return self,
        };
        if random.chance(25) {
            return self;
        }
        let at = random.below(inner);
        match self {
            Tree::Object(members) => members[at].1.place(random),
            Tree::List(elements) => elements[at].place(random),
            Tree::Leaf(_) => unreachable!("it has no inner places"),
        }
    }
}

/// A name that means something somewhere.
fn name(random: &mut Random, names: &[String]) -> String {
    match random.chance(90) {
        true => random.pick(names).clone(),
        false => ["", "x", "a\nb", "größe", "__proto__"][random.below(5)].to_owned(),
    }
}

/// Changes a body in one place.
fn mutate(tree: &mut Tree, random: &mut Random, names: &[String], others: &[Tree]) {
    let what = random.below(8);
    let place = tree.place(random);
    match (what, place) {
        (0, Tree::Object(members)) if !members.is_empty() => {
            members.remove(random.below(members.len()));
        }
        (1, Tree::Object(members)) if !members.is_empty() => {
            let doubled = members[random.below(members.len())].clone();
            members.insert(random.below(members.len() + 1), doubled);
        }
        (2, Tree::Object(members)) if !members.is_empty() => {
            let at = random.below(members.len());
            members[at].0 = name(random, names);
        }
        (3, Tree::Object(members)) => {
            // Moved here from anywhere, or from another body.
            let moved = random.pick(others).clone().place(random).clone();
            members.push((name(random, names), moved));
        }
        (4, place) => {
            let inner = place.clone();
            *place = Tree::Object(vec![(name(random, names), inner)]);
        }
        (5, place) => {
            let inner = place.clone();
            *place = Tree::List(vec![inner]);
        }
        (6, place) => {
            let mut packed = String::new();
            place.write(&mut packed);
            *place = Tree::Leaf(Json::from(packed).to_string());
        }
        (_, place) => *place = Tree::Leaf((*random.pick(&LEAVES)).to_owned()),
    }
}

/// Bodies of our own format, and of what stands around others.
const OURS: [&str; 4] = [
    r#"{"type":"interaction.created","id":"e","time":"t","source":"agent","interaction":{"id":"i","tenant":"t","channel":"chat","queue":"q","widget":"w","callTarget":"c","parentId":"p","parent":{"id":"p","channel":"webengagement","userData":{"rule":1}},"userData":[{"key":"k","value":"v"}],"attached":[{"source":"crm","UserData":{"k":"w"}}]}}"#,
    r#"{"type":"interaction.updated","id":"f","interaction":{"id":"i","user_data":{"k":2}}}"#,
    r#"{"type":"interaction.ended","id":"g","interaction":{"id":"i","state":"handled"}}"#,
    r#"{"specversion":"1.0","id":"h","type":"x.y","source":"/s","traceparent":"00","data":"{\"type\":\"interaction.created\",\"interaction\":{\"id\":\"j\",\"channel\":\"sms\"}}"}"#,
];

#[test]
fn mutated_body_never_panics_and_refusal_names_a_member() {
    let count = number("THROUGHLINE_TEST_MESSAGES").unwrap_or(20_000_u64);
    let seed = number("THROUGHLINE_TEST_SEED").unwrap_or(1);
    println!("THROUGHLINE_TEST_SEED={seed}: {count} bodies");
    let triggers = include_str!("../../fixtures/unsupported/sinch-conversation-triggers.ndjson");
    let bodies = payloads().into_iter().map(|payload| payload.body);
    let bodies = bodies.chain(OURS.map(str::to_owned));
    let bodies: Vec<_> = bodies
        .chain(triggers.lines().map(str::to_owned))
        .map(|body| Tree::of(&serde_json::from_str(&body).expect("a payload is JSON")))
        .collect();
    let mut names = HashSet::new();
    bodies.iter().for_each(|tree| tree.names(&mut names));
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort();
    let known: HashSet<_> = names.iter().map(String::as_str).collect();
    let rules = Rules::empty();
    let mut outcomes = BTreeMap::<String, u64>::new();
    for n in 0..count {
        let mut random = Random::from_parts(seed, "body", n);
        let mut tree = random.pick(&bodies).clone();
        for _ in 0..=random.below(4) {
            mutate(&mut tree, &mut random, &names, &bodies);
        }
        let mut text = String::new();
        tree.write(&mut text);
        let outcome = taken(&rules, &text).unwrap_or_else(|refusal| {
            let detail = refusal.detail.as_str();
            let told = format!("body {n}: {detail} in {text}");
            assert!(!detail.contains(MARK), "a value is told: {told}");
            assert!(names_a_member(detail, &known, &tree), "no member is named: {told}");
            format!("rejected {}", refusal.reason)
        });
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
    // The bodies go everywhere: a change that lets all of them fail early shows nothing.
    for outcome in
        ["enriched", "waiting", "rejected not_an_interaction", "rejected unsupported_type"]
    {
        assert!(outcomes.get(outcome).is_some_and(|times| *times > count / 100), "{outcomes:?}");
    }
}

/// What a body comes to.
fn taken(rules: &Rules, text: &str) -> Result<String, formats::Refusal> {
    let checked = body::check(text.as_bytes(), 1_048_576)?;
    let decoded = formats::decode(&checked, text.as_bytes(), Hints::default())?;
    let step = InteractionTable::default().take(rules, &decoded.message, Attempt::default());
    let stamp =
        Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
    if let Some(line) = enriched::encode(&decoded, &step, stamp) {
        assert!(!line.contains(&b'\n'), "it is one line");
    }
    Ok(step.outcome.as_str().to_owned())
}

/// Whether a detail names a member: one that the body has, or one that a format asks for. Of what is no
/// JSON and of a body that is no object there is none to name.
fn names_a_member(detail: &str, known: &HashSet<&str>, tree: &Tree) -> bool {
    if !matches!(tree, Tree::Object(members) if !members.is_empty()) {
        return detail.starts_with("the body ") || detail.contains("it has no members");
    }
    let mut own = HashSet::new();
    tree.names(&mut own);
    let words = detail.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
    let mut words = words.filter(|word| !word.is_empty());
    words.any(|word| known.contains(word) || own.contains(word)) || is_unnamed(detail, &own)
}

/// Whether it names a member whose name no word is.
fn is_unnamed(detail: &str, own: &HashSet<String>) -> bool {
    own.iter().any(|name| match name.as_str() {
        "" => detail.contains("\"\""),
        name => detail.contains(&name.escape_debug().to_string()),
    })
}
