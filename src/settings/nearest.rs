//! "Did you mean …?": the known name nearest to one that is not known.

/// Names at least this alike (Jaro-Winkler, 0 to 1) are offered. Slips of one or two letters and
/// names left unfinished come to 0.9 and more; different words of one section stay below 0.85.
const ALIKE: f64 = 0.88;

/// The one of `known` that `name` was probably meant to be: the most alike, or else the only one with
/// the same last word, for a setting that was written into the wrong section.
pub(super) fn nearest<'k>(
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let alike = known
        .clone()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= ALIKE);
    if let Some((_, candidate)) = alike {
        return Some(candidate);
    }
    let mut namesakes = known.filter(|candidate| last_word(candidate) == last_word(name));
    namesakes.next().filter(|_| namesakes.next().is_none())
}

/// The part after the last dot.
fn last_word(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}
