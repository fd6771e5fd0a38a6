//! Telephone numbers as people and telephone systems write them, as E.164 with `+`.
//!
//! | written | read as |
//! |---|---|
//! | `+44 (0)1632 960123`, `+44 01632 960123` | `+441632960123`: the `0` is dialled within the country only |
//! | `0044 1632 960123` | the same: `00` is the international prefix that ITU-T E.123 recommends |
//! | `441632960123` | the same: from eleven digits on a country is taken to be among them, since many systems leave the `+` away |
//! | `tel:+44-1632-960123;ext=12`, `sip:+441632960123@gw.test` | the same; schemes in any case, parameters and extensions left away |
//! | `01632 960123`, `3305550123`, `1001`, `tel:1001;phone-context=…` | none: national, or an extension; the text does not say of which country or switchboard |
//!
//! Deliberately absent: the numbering plans of all countries, with which a number could be proved to
//! exist. They change each month, and a number is passed on as the sender states it, without proof.

/// E.164: a number has fifteen digits at most, the country's included.
const MAX_DIGITS: usize = 15;

/// No country has shorter numbers with its code (Niue's have seven). A `+` before fewer digits is taken
/// for an extension.
const MIN_DIGITS: usize = 7;

/// National numbers of ten digits are common, such of eleven are not.
const MIN_DIGITS_WITHOUT_PREFIX: usize = 11;

/// Countries where a national number keeps its `0` behind the country's code, as E.164 has it: Italy, San
/// Marino, and some in Africa.
const KEEP_ZERO: [&str; 6] = ["39", "378", "225", "229", "241", "242"];

/// Countries where `0` is dialled before a national number, and no national number begins with it.
const DROP_ZERO: [&str; 30] = [
    "20", "27", "31", "32", "33", "40", "41", "43", "44", "46", "49", "60", "61", "62", "63", "64",
    "66", "81", "82", "84", "86", "90", "91", "92", "94", "98", "353", "358", "385", "972",
];

/// The telephone number that a text holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// This one, in E.164 with `+`.
    E164(String),
    /// One that no other country can call: national, an extension, or not a number's digits.
    NotGlobal,
    /// Nothing: it is withheld, or not known.
    None,
}

/// Reads the telephone number of a text.
pub(super) fn number(text: &str) -> Number {
    match global(text) {
        Some(number) => Number::E164(number),
        None if text.bytes().any(|byte| byte.is_ascii_digit()) => Number::NotGlobal,
        None => Number::None,
    }
}

fn global(text: &str) -> Option<String> {
    let text = address(text.trim());
    let text = match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel") => unescaped(rest)?,
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") =>
        {
            // The part after the user's name belongs to the host.
            unescaped(rest.split_once('@')?.0)?
        }
        Some(_) => return None,
        None => text.to_owned(),
    };
    let ParsedNumber { prefixed, digits, zero_at } = parse(&text)?;
    let digits = match zero_at {
        // A `(0)` stands only behind a country's code.
        Some(at) => without_zero(&digits, at, KEEP_ZERO.contains(&&digits[..at])),
        None => digits,
    };
    let digits = match DROP_ZERO.iter().find(|code| digits.starts_with(**code)) {
        Some(code) => without_zero(&digits, code.len(), !digits[code.len()..].starts_with('0')),
        None => digits,
    };
    let least = match prefixed || zero_at.is_some() {
        true => MIN_DIGITS,
        false => MIN_DIGITS_WITHOUT_PREFIX,
    };
    let is_number = (least..=MAX_DIGITS).contains(&digits.len()) && !digits.starts_with('0');
    is_number.then(|| format!("+{digits}"))
}

/// The address in angle brackets behind a name: `"Front desk" <tel:+49…>`.
fn address(text: &str) -> &str {
    let inside = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'));
    inside.map_or(text, |(_, address)| address)
}

/// The digits of a number, and the signs that a country code is among them.
struct ParsedNumber {
    /// It begins with an international prefix, which is not among the digits.
    prefixed: bool,
    digits: String,
    /// Where a `0` in brackets stands among them, behind others.
    zero_at: Option<usize>,
}

/// Takes a number apart, up to its parameters or its extension; `None` where anything else is in it.
fn parse(text: &str) -> Option<ParsedNumber> {
    let (mut plus, mut digits, mut zero_at) = (false, String::new(), None);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '+' if digits.is_empty() && !plus => plus = true,
            '0'..='9' => digits.push(c),
            '(' if !digits.is_empty() && zero_at.is_none() => {
                let inside = after.split_once(')').map(|(inside, _)| inside.trim());
                if inside == Some("0") {
                    zero_at = Some(digits.len());
                }
            }
            _ if is_separator(c) => {}
            _ if begins_extension(rest) => break,
            _ => return None,
        }
        rest = after;
    }
    if plus {
        return Some(ParsedNumber { prefixed: true, digits, zero_at });
    }
    // ITU-T E.123; what begins with one `0` is national.
    Some(match digits.strip_prefix("00") {
        Some(rest) => ParsedNumber {
            prefixed: true,
            digits: rest.to_owned(),
            zero_at: zero_at.and_then(|at| at.checked_sub(2)).filter(|at| *at > 0),
        },
        None => ParsedNumber { prefixed: false, digits, zero_at },
    })
}

/// The visual separators of RFC 3966, and those that people write.
fn is_separator(c: char) -> bool {
    matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}') || c.is_whitespace()
}

/// Whether what is left is a parameter (`;ext=12`), or an extension as people write it.
fn begins_extension(rest: &str) -> bool {
    let rest = rest.to_ascii_lowercase();
    ["ext", "x", "#", ",", ";"].iter().any(|mark| rest.starts_with(mark))
}

/// The digits without the one at `at`, unless it is to stay.
fn without_zero(digits: &str, at: usize, stays: bool) -> String {
    match stays {
        true => digits.to_owned(),
        false => [&digits[..at], &digits[at + 1..]].concat(),
    }
}

/// A part of a URI without its percent-escapes; `None` for what is not UTF-8 then. One that names where a
/// number is local is none that is known elsewhere.
fn unescaped(part: &str) -> Option<String> {
    let mut parameters = part.split(';').skip(1);
    let is_local = |parameter: &str| parameter.to_ascii_lowercase().starts_with("phone-context=");
    let text = percent_encoding::percent_decode_str(part).decode_utf8().ok()?.into_owned();
    (text.starts_with('+') || !parameters.any(is_local)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn numbers_become_e164() {
        for (text, expected) in [
            ("+49 30 123456", "+4930123456"),
            ("+44 (0)1632 960123", "+441632960123"),
            ("+44 ( 0 ) 1632 960123", "+441632960123"),
            ("0044(0)1632960123", "+441632960123"),
            ("44 (0)1632 960123", "+441632960123"),
            ("(+44) (0)1632 960123", "+441632960123"),
            ("+44 01632 960123", "+441632960123"),
            ("+49 (0) 30 123456", "+4930123456"),
            ("+49 (030) 123456", "+4930123456"),
            ("+39 (0)6 1234567", "+39061234567"),
            ("+39 06 1234567", "+39061234567"),
            ("+225 0123456789", "+2250123456789"),
            ("0049 (30) 123456", "+4930123456"),
            ("441632960123", "+441632960123"),
            ("18005550100", "+18005550100"),
            ("+1-330-555-0123", "+13305550123"),
            ("+1\u{a0}330\u{2011}555\u{2011}0123", "+13305550123"),
            ("+1 330.555.0123 x12", "+13305550123"),
            ("+1 330 555 0123 ext. 12", "+13305550123"),
            ("+13305550123,,12#", "+13305550123"),
            ("tel:+1-800-555-0100", "+18005550100"),
            ("Tel:+13305550123", "+13305550123"),
            ("TEL:+13305550123;ext=12", "+13305550123"),
            ("tel:%2B13305550123", "+13305550123"),
            ("tel:+13305550123;phone-context=+44", "+13305550123"),
            ("sip:+13305550123@gw.test;user=phone", "+13305550123"),
            ("SIPS:+13305550123;cpc=ordinary:secret@gw.test", "+13305550123"),
            ("\"Front desk\" <sip:+13305550123@gw.test>;tag=1", ""),
            ("\"Front desk\" <tel:+13305550123>", "+13305550123"),
            ("+6834002", "+6834002"),
        ] {
            let expected = match expected {
                "" => Number::NotGlobal,
                number => Number::E164(number.to_owned()),
            };
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn national_number_is_not_global_and_withheld_number_is_none() {
        for text in [
            "030 123456",
            "(0)30 123456",
            "3305550123",
            "330-555-0123",
            "1001",
            "+1001",
            "011 44 1632 960123",
            "tel:1001;phone-context=pbx.test",
            "tel:5550123;phone-context=+1330",
            "sip:1001@pbx.test",
            "sip:10.0.0.1",
            "+1234567890123456",
            "+0301234567",
            "+49٣0 1",
            "+44 1632 96O123",
            "++441632960123",
            "mailto:1@acme.test",
        ] {
            assert_eq!(number(text), Number::NotGlobal, "{text}");
        }
        for text in ["", "+", "anonymous", "Unavailable", "sip:anonymous@anonymous.invalid"] {
            assert_eq!(number(text), Number::None, "{text}");
        }
    }
}
