//! Why no connection comes about, and what is to be changed.
//!
//! What the client library says of it is right and seldom enough: of a port without TLS, for one, it says
//! that the certificate's message is corrupt. What is changed is nearly always a part of `amqp.url`, so that
//! part is named. What the library says stands behind it, in brackets.
//!
//! No text repeats a part of the URL but its host, its port and its virtual host, nor anything that a message
//! holds.

use std::io;

use lapin::ErrorKind;
use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::{AlertDescription, CertificateError};

use super::{Error, NoAnswer};

/// Where a connection was to lead.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    address: String,
    scheme: AMQPScheme,
    vhost: String,
}

impl Goal {
    pub(super) fn of(uri: &AMQPUri) -> Goal {
        Goal {
            address: format!("{}:{}", uri.authority.host, uri.authority.port),
            scheme: uri.scheme.clone(),
            vhost: uri.vhost.clone(),
        }
    }

    /// That it was not reached, and why.
    pub(super) fn unreached(&self, error: &NoAnswer) -> Error {
        let address = &self.address;
        Error::Unreachable(match self.reason(error) {
            Some(reason) => format!("connecting to {address}: {reason} ({error})"),
            None => format!("connecting to {address}: {error}"),
        })
    }

    fn reason(&self, error: &NoAnswer) -> Option<String> {
        let NoAnswer::No(error) = error else {
            return Some("look at the host and the port in amqp.url, and at firewalls".to_owned());
        };
        match error.kind() {
            ErrorKind::IOError(error) => self.of_io(error),
            // AMQP's `NOT_ALLOWED`: RabbitMQ's word for a virtual host that is not for this user.
            ErrorKind::ProtocolError(error) if error.get_id() == 530 => Some(self.of_vhost()),
            // AMQP's `ACCESS_REFUSED`.
            ErrorKind::ProtocolError(error) if error.get_id() == 403 => Some(
                "the broker refuses the login: look at the user and the password in amqp.url, whose \
                 special characters have to be percent-encoded, and mind that RabbitMQ lets guest in \
                 from its own machine only"
                    .to_owned(),
            ),
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => {
                Some(self.of_a_stranger())
            }
            _ => None,
        }
    }

    fn of_vhost(&self) -> String {
        match self.vhost.as_str() {
            "" => "amqp.url ends in a slash, which names a virtual host without a name: leave the slash \
                   away, or write /%2f, for the one that RabbitMQ begins with"
                .to_owned(),
            vhost => format!(
                "the broker has no virtual host {vhost:?}, or does not let this user into it: look at \
                 what stands behind the port in amqp.url, where a slash in a name is written %2f"
            ),
        }
    }

    fn of_io(&self, error: &io::Error) -> Option<String> {
        let inner = error.get_ref();
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return self.of_tls(error);
        }
        match (error.kind(), &self.scheme) {
            (io::ErrorKind::ConnectionRefused, _) => {
                Some("nobody listens there: look at the host and the port in amqp.url".to_owned())
            }
            (
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
                _,
            ) => Some(self.of_a_stranger()),
            // The system's resolver has no kind of its own.
            _ if error.raw_os_error().is_none() && error.to_string().contains("lookup") => {
                Some("there is no such host: look at the host in amqp.url".to_owned())
            }
            _ => None,
        }
    }

    /// Of one that hangs up, or says something else than AMQP.
    fn of_a_stranger(&self) -> String {
        match self.scheme {
            AMQPScheme::AMQP => {
                "what listens there does not speak AMQP without TLS: for a port with TLS (most often \
                 5671) amqp.url begins with amqps://"
            }
            AMQPScheme::AMQPS => {
                "what listens there does not speak AMQP over TLS: for a port without TLS (most often \
                 5672) amqp.url begins with amqp://"
            }
        }
        .to_owned()
    }

    fn of_tls(&self, error: &rustls::Error) -> Option<String> {
        Some(match error {
            rustls::Error::InvalidMessage(_) => self.of_a_stranger(),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "the broker's certificate is from an authority that is not trusted: name the file with \
                 that authority's certificate in amqp.ca_file"
                    .to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. },
            ) => "the broker's certificate is not for the host in amqp.url: write the name that stands \
                  in the certificate, or have it issued for this one"
                .to_owned(),
            rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => "have the broker's certificate renewed, or set this machine's clock".to_owned(),
            rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::HandshakeFailure
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate,
            ) => "the broker does not accept the client's certificate: look at amqp.cert_file and \
                  amqp.key_file, and at the authorities that the broker trusts"
                .to_owned(),
            _ => return None,
        })
    }
}
