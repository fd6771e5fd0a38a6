//! The sessions of an interaction, where its vendor counts several: a call, and a callback that was
//! added to it.
//!
//! The interaction ends with the last session that is open. Events come in any order, so a session's
//! end may come before its start; it is kept until the start has come. Ids of sessions are no user data.

/// So many sessions of each kind at most are kept of one interaction; the oldest is dropped. More than a
/// few at a time are those whose other event was lost, and a row must not grow with those.
const MAX_SESSIONS: usize = 64;

/// The sessions of one interaction that lack their other event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    open: Vec<String>,
    ended_before_start: Vec<String>,
}

impl Sessions {
    /// Those that a store kept.
    pub fn restored(open: Vec<String>, ended_before_start: Vec<String>) -> Sessions {
        Sessions { open, ended_before_start }
    }

    /// The sessions that have started and not ended, in the order of their starts.
    pub fn open(&self) -> &[String] {
        &self.open
    }

    /// The sessions whose end came, and whose start did not come yet.
    pub fn ended_before_start(&self) -> &[String] {
        &self.ended_before_start
    }

    /// A session has started.
    pub(crate) fn start(&mut self, id: &str) {
        if let Some(at) = self.ended_before_start.iter().position(|ended| ended == id) {
            self.ended_before_start.remove(at);
        } else {
            push(&mut self.open, id);
        }
    }

    /// A session has ended. Whether no other one is open: then the interaction ends with it.
    pub(crate) fn end(&mut self, id: &str) -> bool {
        match self.open.iter().position(|open| open == id) {
            Some(at) => {
                self.open.remove(at);
            }
            None if self.open.is_empty() => {}
            None => push(&mut self.ended_before_start, id),
        }
        self.open.is_empty()
    }
}

fn push(ids: &mut Vec<String>, id: &str) {
    if ids.iter().any(|known| known == id) {
        return;
    }
    if ids.len() == MAX_SESSIONS {
        ids.remove(0);
    }
    ids.push(id.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_the_last_open_session_ends_the_interaction() {
        let mut sessions = Sessions::default();
        sessions.start("a");
        sessions.start("b");
        sessions.start("b");
        assert!(!sessions.end("a"));
        assert!(sessions.end("b"));
    }

    #[test]
    fn end_before_its_start_leaves_other_sessions_open() {
        let mut sessions = Sessions::default();
        sessions.start("a");
        assert!(!sessions.end("b"));
        sessions.start("b");
        assert_eq!(sessions, Sessions::restored(vec!["a".to_owned()], Vec::new()));
        assert!(sessions.end("a"), "b has ended already");
    }

    #[test]
    fn end_without_known_sessions_ends_the_interaction() {
        assert!(Sessions::default().end("a"));
    }

    #[test]
    fn number_of_stored_sessions_is_bounded() {
        let mut sessions = Sessions::default();
        for n in 0..1_000 {
            sessions.start(&format!("s-{n}"));
            sessions.end(&format!("e-{n}"));
        }
        assert_eq!(sessions.open().len(), MAX_SESSIONS);
        assert_eq!(sessions.ended_before_start().len(), MAX_SESSIONS);
    }
}
