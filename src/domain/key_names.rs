//! Which names the keys of user data may have (rule K6).

use super::value::Key;

/// Which names a key may have (K6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNames {
    /// Any but the empty one.
    Any,
    /// An XML element name without a colon.
    Xml,
}

impl KeyNames {
    /// Whether a key of this name is allowed.
    pub fn allow(self, key: &Key<'_>) -> bool {
        match self {
            KeyNames::Any => !key.as_bytes().is_empty(),
            KeyNames::Xml => key.as_str().is_some_and(is_element_name),
        }
    }
}

/// A letter or `_`, then letters, digits, `-`, `.`, `_`; of these, the ones that XML 1.0 allows.
fn is_element_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| (c.is_alphabetic() || c == '_') && is_xml(c));
    first && characters.all(|c| (c.is_alphanumeric() && is_xml(c)) || matches!(c, '-' | '.' | '_'))
}

/// `NameStartChar` of XML 1.0 (fifth edition) without `:`, and the digits.
fn is_xml(c: char) -> bool {
    matches!(c,
        '0'..='9' | 'A'..='Z' | '_' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
        | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_names_are_element_names_without_colon() {
        for legal in ["customerId", "XRI-body", "_x", "Custom_1", "größe", "a.b", "名前"] {
            assert!(KeyNames::Xml.allow(&Key::from(legal)), "{legal}");
        }
        for illegal in ["", "2nd", "customer Id", "a:b", "-x", ".x", "x²", "a\u{d7}b", "a\u{0}"] {
            assert!(!KeyNames::Xml.allow(&Key::from(illegal)), "{illegal}");
        }
    }
}
