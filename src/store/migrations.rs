//! Versions of the schema: numbered SQL files, each run once, in order, never edited once released.
//!
//! A version is a place in the list, so numbers cannot have gaps. How the version is kept and how
//! workers that start together keep out of each other's way is the backends' affair; both run all
//! that is pending in one transaction, so a schema is never left half way. Deliberately absent:
//! ways back. An older binary refuses a newer schema instead of guessing at it.
//!
//! A table that older binaries can do without is no version but an *addition* ([`ADDITION`]): it is made
//! where it is missing, and a binary of before goes on beside it, and may take over again.

use super::OpenError;

/// A backend's migrations, oldest first.
pub(super) type Migrations = [&'static str];

/// The table that was added since the newest version.
pub(super) const ADDITION: &str = "throughline_spilled_event";

/// The version that this binary makes and needs.
pub(super) fn known(migrations: &Migrations) -> i32 {
    i32::try_from(migrations.len()).unwrap_or(i32::MAX)
}

/// The migrations that bring a store at version `found` up to date.
///
/// # Errors
/// When the store is newer than this binary.
pub(super) fn pending(migrations: &Migrations, found: i32) -> Result<&Migrations, OpenError> {
    usize::try_from(found)
        .ok()
        .and_then(|done| migrations.get(done..))
        .ok_or_else(|| OpenError::Newer { found, known: known(migrations) })
}

/// Checks that nothing has to be run.
///
/// # Errors
/// When the store is newer or older than this binary.
pub(super) fn check(migrations: &Migrations, found: i32) -> Result<(), OpenError> {
    match pending(migrations, found)? {
        [] => Ok(()),
        _ => Err(OpenError::Outdated { found, known: known(migrations) }),
    }
}
