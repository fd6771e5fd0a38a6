//! What is wrong with a TLS connection, where an operator can mend it.
//!
//! Deliberately absent: the remedy. It names a setting, and each adapter has settings of its own.

use rustls::{AlertDescription, CertificateError, Error};

/// A fault in the certificate of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// The server's certificate is from an authority that is not trusted here.
    UnknownAuthority,
    /// The server's certificate is for another host.
    OtherHost,
    /// The server's certificate has expired, or is not valid yet.
    OutsideValidity,
    /// The server does not accept the client's certificate, or asks for one.
    ClientRefused,
    /// The server ends the handshake without saying why; some do so when they want a certificate.
    HandshakeRefused,
}

impl TlsFault {
    /// The fault that an error is about; `None` for any other.
    pub(crate) fn from_error(error: &Error) -> Option<TlsFault> {
        Some(match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                TlsFault::UnknownAuthority
            }
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => TlsFault::OtherHost,
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => TlsFault::OutsideValidity,
            Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate,
            ) => TlsFault::ClientRefused,
            Error::AlertReceived(AlertDescription::HandshakeFailure) => TlsFault::HandshakeRefused,
            _ => return None,
        })
    }
}
