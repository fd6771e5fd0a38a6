//! The source as the architecture's tests read it: lines of code, not syntax trees.
//!
//! Comments and string literals are left out by a small scanner, and so is everything from a file's
//! `#[cfg(test)]` on. Lines keep their numbers.

use std::path::{Path, PathBuf};

/// A source file: its path below `src`, its text, and its lines without comments, strings and tests.
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) code: Vec<String>,
}

pub(super) fn source_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 20, "only {} files below {}", paths.len(), root.display());
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a source file");
        let below = path.strip_prefix(&root).expect("a path below src");
        let code = code_lines(&text);
        SourceFile { path: below.to_string_lossy().replace('\\', "/"), text, code }
    };
    paths.iter().map(read).collect()
}

pub(super) fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            paths.push(path);
        }
    }
}

/// The room that a file belongs to; none for `lib.rs` and `main.rs`, which name them all.
pub(super) fn room_of(path: &str) -> Option<&str> {
    if path == "lib.rs" || path == "main.rs" {
        return None;
    }
    if path.starts_with("settings/rules_file") {
        return Some("settings::rules_file");
    }
    path.split('/').next().map(|room| room.trim_end_matches(".rs"))
}

pub(super) fn numbered(code: &[String]) -> impl Iterator<Item = (usize, &str)> {
    code.iter().enumerate().map(|(n, line)| (n + 1, line.as_str()))
}

/// Whether the line says the word, and not only a longer one that holds it.
pub(super) fn says(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let starts = !word.starts_with(is_part) || !line[..at].ends_with(is_part);
        let ends = !word.ends_with(is_part) || !line[at + word.len()..].starts_with(is_part);
        starts && ends
    })
}

/// The first segments of the paths that begin at `crate::`, each with its line; of a group, all.
pub(super) fn crate_paths(code: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (n, line) in code.iter().enumerate() {
        for (at, begin) in line.match_indices("crate::") {
            // A group may go on over the lines that follow.
            let rest = std::iter::once(&line[at + begin.len()..])
                .chain(code[n + 1..].iter().map(String::as_str));
            let rest = rest.take(40).collect::<Vec<_>>().join(" ");
            found.extend(first_segments(&rest).into_iter().map(|name| (n + 1, name)));
        }
    }
    found
}

fn first_segments(rest: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut begins, mut names) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[begins..at]));
                begins = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name: &String| !name.is_empty());
    names
}

/// The lines of a file without what comments and string literals hold, up to its tests.
fn code_lines(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let literal = literal_len(rest, code.chars().next_back());
        let skipped = literal.unwrap_or(0);
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        // What is left out leaves its line breaks, so that lines keep their numbers.
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code.lines().map(str::to_owned).collect()
}

/// How long the comment or literal is that `rest` begins with, if it begins with one.
fn literal_len(rest: &str, before: Option<char>) -> Option<usize> {
    let to = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |found| from + found + end.len())
    };
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(to("*/", 2));
    }
    let begins_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    let raw = ["br", "r"].into_iter().find(|prefix| begins_word && rest.starts_with(prefix));
    if let Some(prefix) = raw {
        let opening = &rest[prefix.len()..];
        let hashes = opening.bytes().take_while(|byte| *byte == b'#').count();
        let begins = prefix.len() + hashes + 1;
        let opens = opening[hashes..].starts_with('"');
        return opens.then(|| to(&format!("\"{}", "#".repeat(hashes)), begins));
    }
    match rest.as_bytes() {
        [b'"', ..] => Some(quoted_len(rest, b'"')),
        // A lifetime has no closing quote: 'a, but 'x' and '\n'.
        [b'\'', b'\\', ..] => Some(quoted_len(rest, b'\'')),
        [b'\'', ..] => {
            let mut characters = rest[1..].char_indices();
            let (_, _inner) = characters.next()?;
            let (at, quote) = characters.next()?;
            (quote == '\'').then_some(at + 2)
        }
        _ => None,
    }
}

fn quoted_len(rest: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = "use a; // lapin\nlet x = \"lapin \\\" sqlx\"; let c = '\"'; y('\\'', \"\");\n\
                let r = br#\"one \" lapin\n two\"#; z\n/* sqlx\n */ w<'a>\n#[cfg(test)]\nlapin";
    let code = code_lines(text);
    assert_eq!(code[0].trim_end(), "use a;");
    assert!(code[1].contains("let c") && code[1].contains("y("), "{}", code[1]);
    assert!(code[3].ends_with("; z") && code[5].ends_with("w<'a>"), "{code:?}");
    assert!(!code.iter().any(|line| line.contains("lapin") || line.contains("sqlx")), "{code:?}");
    let paths = crate_paths(&["use crate::{a, b::{c, d}, e as f};".to_owned()]);
    assert_eq!(paths.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), ["a", "b", "e"]);
    assert!(says("use lapin::X;", "lapin") && !says("my_lapin2", "lapin"));
}
