//! Points of the line at which a worker can be told to die, to test what a crash leaves behind.
//!
//! `THROUGHLINE_TEST_CRASH_AT=after_save:3` aborts the process the third time that it crosses the
//! point `after_save`. It aborts rather than panics: nothing is unwound, no connection is closed, and
//! what is left is what a power cut or the out-of-memory killer would leave.
//!
//! | point | a batch is then |
//! |---|---|
//! | `before_save` | worked through, in an open transaction |
//! | `after_save` | committed |
//! | `before_publish` | in hand, nothing of it on its way |
//! | `after_publish` | sent, no confirm awaited yet |
//! | `after_confirm` | answered for by the broker |
//! | `before_acknowledge` | answered for, and what came back is set aside |
//! | `after_acknowledge` | acknowledged |
//!
//! Only builds with debug assertions look at the variable: in a release build `cross` is empty,
//! and no environment can make a worker die.

#[cfg(debug_assertions)]
use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

/// A point of the line; the module says what has happened where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before the transaction of a batch is saved.
    BeforeSave,
    /// After it is committed.
    AfterSave,
    /// Before anything of a batch is published.
    BeforePublish,
    /// After all of it is sent; no confirm is awaited yet.
    AfterPublish,
    /// After the broker has answered for all of it.
    AfterConfirm,
    /// Before a batch is settled.
    BeforeAcknowledge,
    /// After it is settled.
    AfterAcknowledge,
}

impl CrashPoint {
    /// All of them, in the order in which a batch crosses them.
    pub const ALL: [CrashPoint; 7] = [
        CrashPoint::BeforeSave,
        CrashPoint::AfterSave,
        CrashPoint::BeforePublish,
        CrashPoint::AfterPublish,
        CrashPoint::AfterConfirm,
        CrashPoint::BeforeAcknowledge,
        CrashPoint::AfterAcknowledge,
    ];

    /// Its name in the variable.
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::BeforeSave => "before_save",
            CrashPoint::AfterSave => "after_save",
            CrashPoint::BeforePublish => "before_publish",
            CrashPoint::AfterPublish => "after_publish",
            CrashPoint::AfterConfirm => "after_confirm",
            CrashPoint::BeforeAcknowledge => "before_acknowledge",
            CrashPoint::AfterAcknowledge => "after_acknowledge",
        }
    }
}

/// Dies here, if the variable says so.
#[cfg(debug_assertions)]
pub(crate) fn cross(point: CrashPoint) {
    static CRASH: LazyLock<Option<Crash>> = LazyLock::new(Crash::asked_for);
    if let Some(crash) = &*CRASH
        && crash.point == point
        && crash.crossings_left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        eprintln!("throughline: dying at {}, as told", point.name());
        std::process::abort();
    }
}

/// Nothing: this build cannot be told to die.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn cross(_point: CrashPoint) {}

/// The crash that was asked for.
#[cfg(debug_assertions)]
struct Crash {
    point: CrashPoint,
    crossings_left: AtomicU32,
}

#[cfg(debug_assertions)]
impl Crash {
    /// Reads the variable. One that means nothing ends the process too: a test that asks for a
    /// crash which never comes would pass without having tested anything.
    fn asked_for() -> Option<Crash> {
        let asked = std::env::var_os("THROUGHLINE_TEST_CRASH_AT")?;
        let crash = asked.to_str().and_then(Crash::parse);
        if crash.is_none() {
            eprintln!(
                "throughline: THROUGHLINE_TEST_CRASH_AT wants a point and a count of 1 or more, as in after_save:3"
            );
            std::process::abort();
        }
        crash
    }

    fn parse(text: &str) -> Option<Crash> {
        let (name, crossings) = text.split_once(':')?;
        let point = CrashPoint::ALL.into_iter().find(|point| point.name() == name)?;
        let crossings = crossings.parse().ok().filter(|crossings| *crossings > 0)?;
        Some(Crash { point, crossings_left: AtomicU32::new(crossings) })
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn crash_point_parses_name_and_count() {
        let crash = Crash::parse("after_save:3").expect("it is well formed");
        assert_eq!(crash.point, CrashPoint::AfterSave);
        assert_eq!(crash.crossings_left.into_inner(), 3);
        for wrong in ["", "after_save", "after_save:", "after_save:0", "after_save:x", "never:1"] {
            assert!(Crash::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
