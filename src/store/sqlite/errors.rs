//! SQLite's result codes in the port's words (<https://www.sqlite.org/rescode.html>).

use crate::pipeline::ports::StoreError;

/// What an extended result code, in decimal, means for the batch.
pub(in crate::store) fn classify(code: &str) -> StoreError {
    let with_code = |what: &str| format!("{what} (SQLite code {code})");
    let extended: i32 = code.parse().unwrap_or_default();
    // The low byte is the primary code.
    match (extended & 0xff, extended) {
        // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE
        (_, 1555 | 2067) => StoreError::Conflict,
        // SQLITE_CONSTRAINT, SQLITE_TOOBIG, SQLITE_MISMATCH, SQLITE_RANGE
        (18 | 19 | 20 | 25, _) => StoreError::Refused(with_code("not what its column takes")),
        // SQLITE_ERROR (no such table), SQLITE_CORRUPT, SQLITE_SCHEMA, SQLITE_NOTADB
        (1 | 17, _) => StoreError::Unreadable(with_code("the schema is not the one expected")),
        (11 | 26, _) => StoreError::Unreadable(with_code("the file is damaged or no database")),
        (5 | 6, _) => {
            StoreError::Unavailable(with_code("another process keeps the database locked"))
        }
        (8, _) => StoreError::Unavailable(with_code("the database cannot be written")),
        (10, _) => StoreError::Unavailable(with_code("the disk fails")),
        (13, _) => StoreError::Unavailable(with_code("the disk is full")),
        (14, _) => StoreError::Unavailable(with_code("the file cannot be opened")),
        _ => StoreError::Unavailable(with_code("the database fails")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_classified() {
        for (code, class) in [
            ("5", "unavailable"),    // SQLITE_BUSY
            ("517", "unavailable"),  // SQLITE_BUSY_SNAPSHOT
            ("13", "unavailable"),   // SQLITE_FULL
            ("778", "unavailable"),  // SQLITE_IOERR_WRITE
            ("1555", "conflict"),    // SQLITE_CONSTRAINT_PRIMARYKEY
            ("1299", "refused"),     // SQLITE_CONSTRAINT_NOTNULL
            ("3091", "refused"),     // SQLITE_CONSTRAINT_DATATYPE
            ("18", "refused"),       // SQLITE_TOOBIG
            ("1", "unreadable"),     // SQLITE_ERROR
            ("11", "unreadable"),    // SQLITE_CORRUPT
            ("26", "unreadable"),    // SQLITE_NOTADB
            ("what", "unavailable"), // no code at all
        ] {
            let found = match classify(code) {
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Conflict => "conflict",
                StoreError::Refused(_) => "refused",
                StoreError::Unreadable(_) => "unreadable",
            };
            assert_eq!(found, class, "{code}");
        }
    }
}
