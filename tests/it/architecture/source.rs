//! The sources as the architecture tests read them: lines of code, not syntax trees.
//!
//! A small scanner leaves out comments and string literals, and everything from a file's `#[cfg(test)]`
//! on. Lines keep their numbers.

use std::path::{Path, PathBuf};

/// A source file: its path below `src`, its text, and its lines without comments, strings and tests.
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) code: Vec<String>,
}

/// Every file below `src`.
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

/// Adds the Rust files of a folder and its subfolders.
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

/// The room that a file belongs to; `None` for `lib.rs` and `main.rs`, which name them all.
pub(super) fn room_of(path: &str) -> Option<&str> {
    if path == "lib.rs" || path == "main.rs" {
        return None;
    }
    if path.starts_with("settings/rules_file") {
        return Some("settings::rules_file");
    }
    path.split('/').next().map(|room| room.trim_end_matches(".rs"))
}

/// The lines, numbered from 1.
pub(super) fn numbered(code: &[String]) -> impl Iterator<Item = (usize, &str)> {
    code.iter().enumerate().map(|(n, line)| (n + 1, line.as_str()))
}

/// Whether the line contains the word, and not only as a part of a longer one.
pub(super) fn contains_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let starts = !word.starts_with(is_part) || !line[..at].ends_with(is_part);
        let ends = !word.ends_with(is_part) || !line[at + word.len()..].starts_with(is_part);
        starts && ends
    })
}

/// The paths that a file names: those that begin with `crate`, `self` or `super`, and all of `use` items,
/// each with its line; of a group, every path.
pub(super) fn paths(code: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (n, line) in code.iter().enumerate() {
        let starts = ["use ", "crate::", "self::", "super::"].into_iter().flat_map(|start| {
            let is_use = start == "use ";
            let places = line.match_indices(start).map(|(at, _)| at);
            let begins = move |at: &usize| match line[..*at].chars().next_back() {
                // A path within a `use` item is found with the item.
                _ if !is_use => !line.contains("use ") && begins_path(&line[..*at]),
                before => before.is_none_or(|c| c == ' '),
            };
            places.filter(begins).map(move |at| if is_use { at + start.len() } else { at })
        });
        for at in starts {
            // A group may go on over the lines that follow.
            let rest = std::iter::once(&line[at..]).chain(code[n + 1..].iter().map(String::as_str));
            let rest = rest.take(40).collect::<Vec<_>>().join(" ");
            tree_paths(&rest, &[], &mut |path| found.push((n + 1, path)));
        }
    }
    found
}

fn begins_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
}

/// Reads one path or group of paths, gives each of its paths, and returns how long it is.
fn tree_paths(text: &str, prefix: &[String], give: &mut dyn FnMut(Vec<String>)) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            while !text[at..].trim_start().starts_with('}') && at < text.len() {
                at += tree_paths(&text[at..], &path, give);
                let rest = text[at..].trim_start();
                at += text[at..].len() - rest.len() + usize::from(rest.starts_with(','));
            }
            return (text.len()).min(at + text[at..].find('}').map_or(0, |end| end + 1));
        }
        let name = text[at..].find(|c: char| !c.is_alphanumeric() && c != '_');
        let end = name.map_or(text.len(), |end| at + end);
        if end > at {
            path.push(text[at..end].to_owned());
        }
        at = end;
        if !text[at..].starts_with("::") || text[at..].starts_with("::<") {
            // `as` renames, and `*` takes all: up to what ends the path.
            let stop = text[at..].find([',', '}', ';', ')', '(']).map_or(text.len(), |n| at + n);
            give(path);
            return stop;
        }
        at += 2;
    }
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
        // Line breaks in skipped text are kept, so that lines keep their numbers.
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
fn scanner_reads_code_without_comments_strings_and_tests() {
    let text = "use a; // lapin\nlet x = \"lapin \\\" sqlx\"; let c = '\"'; y('\\'', \"\");\n\
                let r = br#\"one \" lapin\n two\"#; z\n/* sqlx\n */ w<'a>\n#[cfg(test)]\nlapin";
    let code = code_lines(text);
    assert_eq!(code[0].trim_end(), "use a;");
    assert!(code[1].contains("let c") && code[1].contains("y("), "{}", code[1]);
    assert!(code[3].ends_with("; z") && code[5].ends_with("w<'a>"), "{code:?}");
    assert!(!code.iter().any(|line| line.contains("lapin") || line.contains("sqlx")), "{code:?}");
    let text = "use crate::{a, b::{c as f, self}, e};\nlet x = super::g::<T>(crate::h::I);";
    let found: Vec<_> = paths(&code_lines(text)).into_iter().map(|(_, path)| path).collect();
    let found: Vec<_> = found.iter().map(|path| path.join("::")).collect();
    let expected =
        ["crate::a", "crate::b::c", "crate::b::self", "crate::e", "crate::h::I", "super::g"];
    assert_eq!(found, expected);
    assert!(contains_word("use lapin::X;", "lapin") && !contains_word("my_lapin2", "lapin"));
}
