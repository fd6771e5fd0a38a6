//! Cells of CSV that a spreadsheet shows as text, never as a formula.
//!
//! Excel, LibreOffice Calc and Google Sheets take a cell that begins with certain characters for a formula,
//! quoted or not, and a formula can call programs and send the contents of other cells elsewhere. The
//! customer who fills in a web form chooses the text. So an apostrophe is put before such a cell, as OWASP
//! advises (*CSV Injection*): `'=1+1` is shown as text. A telephone number in international form begins so
//! as well: a spreadsheet would make `-1007` of `+1-330-555-0123`, and leaves `'+1-330-555-0123` readable.
//!
//! A negative number is no formula and stays as it is. Where a semicolon, a tab or a line break stands in a
//! text, a spreadsheet that is set to another separator than the comma begins a new cell in spite of the
//! quotes; what follows there is treated in the same way.

/// A cell as RFC 4180 has it: quoted where something in it would end it, or the line. `raw` leaves alone
/// what a spreadsheet would take for a formula.
pub(super) fn cell(text: &str, raw: bool) -> String {
    let text = if raw { text.to_owned() } else { neutralised(text) };
    match text.contains([',', ';', '\t', '"', '\'', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// Characters that may end a cell in spite of the quotes around it.
const ENDS: [char; 4] = [';', '\t', '\r', '\n'];

/// The text with an apostrophe before each part of it that could be a formula.
fn neutralised(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    // A tab or a line break at the very beginning is what OWASP names.
    if text.starts_with(ENDS) {
        safe.push('\'');
    }
    for part in text.split_inclusive(ENDS) {
        if is_formula(part.trim_end_matches(ENDS)) {
            safe.push('\'');
        }
        safe.push_str(part);
    }
    safe
}

/// Whether a spreadsheet takes a text for a formula: by its first character, also in the wide forms that
/// some of them read as the narrow, and behind white space, controls or quotes that an import may drop.
fn is_formula(text: &str) -> bool {
    let dropped = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{ad}')
    };
    let begins = text.trim_start_matches(dropped);
    begins.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '−']) && !is_negative(text)
}

/// Whether a text is a negative number and nothing else, as JSON or a person writes one.
fn is_negative(text: &str) -> bool {
    let Some(number) = text.strip_prefix('-') else { return false };
    let (number, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = number.split_once(['.', ',']).unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole)
        && is_digits(fraction)
        && is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn cells_that_could_be_formulas_get_an_apostrophe() {
        for (text, expected) in [
            ("", ""),
            ("plan", "plan"),
            ("=1+1", "\"'=1+1\""),
            ("+1-330-555-0123", "\"'+1-330-555-0123\""),
            ("+4930123456", "\"'+4930123456\""),
            ("-2+3", "\"'-2+3\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("＝1+1", "\"'＝1+1\""),
            ("＋1", "\"'＋1\""),
            ("－1", "\"'－1\""),
            ("＠x", "\"'＠x\""),
            ("\t=1", "\"'\t'=1\""),
            ("\rx", "\"'\rx\""),
            ("\nx", "\"'\nx\""),
            ("  =1+1", "\"'  =1+1\""),
            ("\u{feff}=1", "\"'\u{feff}=1\""),
            ("\"=1", "\"'\"\"=1\""),
            ("\0=1", "\"'\0=1\""),
            ("a;=1+1;b", "\"a;'=1+1;b\""),
            ("a\r\n=1+1", "\"a\r\n'=1+1\""),
            ("a\t@x", "\"a\t'@x\""),
            ("a,=1", "\"a,=1\""),
            ("-12.50", "-12.50"),
            ("-1,5", "\"-1,5\""),
            ("-1e-5", "-1e-5"),
            ("-", "\"'-\""),
            ("-1-1", "\"'-1-1\""),
            ("-1e", "\"'-1e\""),
            ("1-2", "1-2"),
            ("a=b", "a=b"),
            ("00123", "00123"),
            ("  pad ", "  pad "),
            ("q\"uo,te", "\"q\"\"uo,te\""),
            ("line1\r\nline2", "\"line1\r\nline2\""),
        ] {
            assert_eq!(cell(text, false), expected, "{text:?}");
        }
    }

    #[test]
    fn raw_cells_are_quoted_but_otherwise_unchanged() {
        assert_eq!(cell("=1+1", true), "=1+1");
        assert_eq!(cell("+1-330-555-0123", true), "+1-330-555-0123");
        assert_eq!(cell("a\"b\n=1", true), "\"a\"\"b\n=1\"");
    }
}
