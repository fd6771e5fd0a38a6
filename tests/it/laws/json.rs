//! What is taken out of a checked JSON text is what serde_json takes out of it.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use throughline::domain::RawJson;

proptest! {
    #![proptest_config(super::config(400))]

    #[test]
    fn members_and_elements_agree_with_serde_json(text in document()) {
        let json = RawJson::check(&text).expect("JSON");
        let found = json.members().map(|members| {
            let named = |(key, raw): (throughline::domain::Key<'_>, RawJson<'_>)| {
                (key.to_string(), raw.get().to_owned())
            };
            members.into_iter().map(named).collect::<Vec<_>>()
        });
        prop_assert_eq!(found, members(&text), "{}", text);
        let found = json.elements().map(texts);
        let expected: Option<Vec<&RawValue>> = serde_json::from_str(&text).ok();
        let expected: Option<Vec<_>> =
            expected.map(|raws| raws.into_iter().map(|raw| raw.get().to_owned()).collect());
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn json_validity_agrees_with_serde_json(
        text in document(),
        at in 0_usize..200,
        byte in select(&b"\"\\{}[]:,x0 \n\x01"[..]),
    ) {
        let mut bytes = text.into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let valid = serde_json::from_str::<&RawValue>(text).is_ok();
            let json = RawJson::check(text).ok();
            prop_assert_eq!(json.is_some(), valid, "{}", text);
            prop_assert_eq!(json.and_then(RawJson::members).map(|m| m.len()), members(text).map(|m| m.len()));
        }
    }
}

fn texts(raws: Vec<RawJson<'_>>) -> Vec<String> {
    raws.into_iter().map(|raw| raw.get().to_owned()).collect()
}

/// The members as serde_json reads them, repeats included.
fn members(text: &str) -> Option<Vec<(String, String)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, String)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                members.push((name, raw.get().to_owned()));
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members).ok()?;
    reader.end().ok()?;
    Some(members)
}

/// JSON with space in odd places, and strings full of what could be taken for a token.
fn document() -> impl Strategy<Value = String> {
    let space = || select(&["", "", "", " ", "\n", "\t \r\n"][..]);
    let string = select(
        &[
            r#""""#,
            r#""a""#,
            r#""\"""#,
            r#""\\""#,
            r#""}""#,
            r#""{[""#,
            r#""],""#,
            r#"":""#,
            r#""\\\"""#,
            r#""\u0022""#,
            r#""größe 😀""#,
            r#""a long one, as values often are""#,
        ][..],
    );
    let leaf = prop_oneof![
        string.clone().prop_map(str::to_owned),
        select(&["0", "-1.50", "1E400", "true", "false", "null", "12345678901234567890"][..])
            .prop_map(str::to_owned),
    ];
    let spaced = move |inner: BoxedStrategy<String>| {
        (space(), inner, space())
            .prop_map(|(before, inner, after)| format!("{before}{inner}{after}"))
    };
    let element = spaced;
    let nested = leaf.prop_recursive(4, 40, 5, move |inner| {
        let inner = element(inner);
        let name = element(string.clone().prop_map(str::to_owned).boxed());
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            vec((name, inner), 0..5).prop_map(|items| {
                let items: Vec<_> =
                    items.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", items.join(","))
            }),
            Just("[ ]".to_owned()),
            Just("{\n}".to_owned()),
        ]
    });
    spaced(nested.boxed())
}
