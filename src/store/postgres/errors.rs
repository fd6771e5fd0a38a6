//! PostgreSQL's error codes in the port's words
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
//!
//! Only the code is used: message and detail quote values, such as the key of a duplicate. What TLS
//! refuses is reported with the remedy.

use std::error::Error;

use crate::pipeline::ports::StoreError;
use crate::tls::TlsFault;

/// What a SQLSTATE means for the batch.
pub(in crate::store) fn classify(sqlstate: &str) -> StoreError {
    let with_code = |what: &str| format!("{what} (SQLSTATE {sqlstate})");
    match (sqlstate.get(..2).unwrap_or_default(), sqlstate) {
        // `save.sql` divides by zero when it could not write every row.
        (_, "22012" | "23505") => StoreError::Conflict,
        // Two that change each other's rows: the one who lost begins again.
        (_, "40001" | "40P01") => StoreError::Conflict,
        ("22" | "23", _) => StoreError::Refused(with_code("not what its column takes")),
        // No statement of ours is named twice, or used before it is prepared, on one connection.
        (_, "42P05" | "26000") => StoreError::Unreadable(with_code(
            "the server's prepared statements are not this session's: a pooler in transaction mode \
             stands in between; have it pool sessions (PgBouncer: pool_mode = session), or name the \
             server itself in store.url",
        )),
        (_, "08P01") => StoreError::Unavailable(with_code(
            "the server, or a pooler in between, refuses the statement: of PgBouncer, look \
             at its log, and have it pool sessions (pool_mode = session)",
        )),
        ("54", _) => StoreError::Refused(with_code("beyond a limit of the server")),
        ("42" | "3F" | "0A", _) => {
            StoreError::Unreadable(with_code("schema or rights are not the ones expected"))
        }
        (_, "XX001" | "XX002") => StoreError::Unreadable(with_code("the server's data is damaged")),
        (_, "28P01") => StoreError::Unavailable(with_code("the server refuses the password")),
        ("28", _) => StoreError::Unavailable(with_code(
            "the server refuses the login: look at the user, at the server's pg_hba.conf, and at \
             the client's certificate (sslcert, sslkey) if it asks for one",
        )),
        ("3D", _) => StoreError::Unavailable(with_code("the server has no such database")),
        (_, "53100") => StoreError::Unavailable(with_code("the server's disk is full")),
        ("53", _) => StoreError::Unavailable(with_code("the server is out of resources")),
        ("40", _) => StoreError::Unavailable(with_code("rolled back in favour of another worker")),
        (_, "55P03") => {
            StoreError::Unavailable(with_code("another worker holds a row for too long"))
        }
        (_, "57014") => StoreError::Unavailable(with_code("the server took too long")),
        (_, "25006") => StoreError::Unavailable(with_code("the server cannot be written")),
        ("57", _) => StoreError::Unavailable(with_code("the server is starting or stopping")),
        _ => StoreError::Unavailable(with_code("the server fails")),
    }
}

/// The TLS error and its remedy. Certificates are public, and so is all that their errors say.
pub(in crate::store) fn tls_trouble(error: &(dyn Error + 'static)) -> String {
    let Some(error) = error.downcast_ref::<rustls::Error>() else {
        return format!("TLS: {error}; sslmode in store.url sets the requirement");
    };
    match TlsFault::from_error(error) {
        Some(TlsFault::UnknownAuthority) => {
            "TLS: the server's certificate is from an authority that is not trusted: name the file \
             with that authority's certificate in sslrootcert"
                .to_owned()
        }
        Some(TlsFault::OtherHost) => {
            "TLS: the server's certificate is not for the host that store.url names: write the name \
             that stands in the certificate, or have it issued for this one"
                .to_owned()
        }
        Some(TlsFault::OutsideValidity) => {
            format!("TLS: {error}: have the server's certificate renewed, or set this machine's clock")
        }
        Some(TlsFault::ClientRefused) => format!(
            "TLS: {error}: the server does not accept the client's certificate: look at sslcert and \
             sslkey, and at the authorities that the server trusts"
        ),
        Some(TlsFault::HandshakeRefused) | None => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_classified() {
        for (sqlstate, class) in [
            ("08006", "unavailable"), // connection_failure
            ("25P03", "unavailable"), // idle_in_transaction_session_timeout
            ("28P01", "unavailable"), // invalid_password
            ("53100", "unavailable"), // disk_full
            ("53300", "unavailable"), // too_many_connections
            ("55P03", "unavailable"), // lock_not_available
            ("57014", "unavailable"), // query_canceled
            ("57P01", "unavailable"), // admin_shutdown
            ("58030", "unavailable"), // io_error
            ("XX000", "unavailable"), // internal_error
            ("", "unavailable"),      // no code at all
            ("22012", "conflict"),    // division_by_zero
            ("23505", "conflict"),    // unique_violation
            ("40001", "conflict"),    // serialization_failure
            ("40P01", "conflict"),    // deadlock_detected
            ("22021", "refused"),     // character_not_in_repertoire: U+0000
            ("22P05", "refused"),     // untranslatable_character: \u0000 in jsonb
            ("22P02", "refused"),     // invalid_text_representation
            ("23502", "refused"),     // not_null_violation
            ("54000", "refused"),     // program_limit_exceeded: a key too long for its index
            ("42P01", "unreadable"),  // undefined_table
            ("42703", "unreadable"),  // undefined_column
            ("42501", "unreadable"),  // insufficient_privilege
            ("42P05", "unreadable"),  // duplicate_prepared_statement: a pooler
            ("26000", "unreadable"),  // invalid_sql_statement_name: the same
            ("08P01", "unavailable"), // protocol_violation: a pooler too, or one that is full
            ("XX001", "unreadable"),  // data_corrupted
        ] {
            let found = match classify(sqlstate) {
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Conflict => "conflict",
                StoreError::Refused(_) => "refused",
                StoreError::Unreadable(_) => "unreadable",
            };
            assert_eq!(found, class, "{sqlstate}");
        }
    }
}
