//! Why connecting fails, and which setting to change.
//!
//! What the client library says of it is right and seldom enough: of a port without TLS, for one, it says
//! that the certificate's message is corrupt. The setting to change is nearly always a part of `amqp.url`,
//! which is named; the library's own text follows in brackets.
//!
//! No text repeats a part of the URL but its host, its port and its virtual host, nor anything that a message
//! holds.

use std::io;

use lapin::ErrorKind;
use lapin::uri::{AMQPScheme, AMQPUri};

use super::{CallError, Error};
use crate::tls::TlsFault;

/// Where a connection was to lead.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    address: String,
    scheme: AMQPScheme,
    vhost: String,
}

impl Goal {
    pub(super) fn from_uri(uri: &AMQPUri) -> Goal {
        Goal {
            address: format!("{}:{}", uri.authority.host, uri.authority.port),
            scheme: uri.scheme.clone(),
            vhost: uri.vhost.clone(),
        }
    }

    /// That it was not reached, and why.
    pub(super) fn unreached(&self, error: &CallError) -> Error {
        let address = &self.address;
        Error::Unreachable(match self.reason(error) {
            Some(reason) => format!("connecting to {address}: {reason} ({error})"),
            None => format!("connecting to {address}: {error}"),
        })
    }

    fn reason(&self, error: &CallError) -> Option<String> {
        let CallError::Failed(error) = error else {
            return Some("look at the host and the port in amqp.url, and at firewalls".to_owned());
        };
        match error.kind() {
            ErrorKind::IOError(error) => self.io_reason(error),
            // AMQP's `NOT_ALLOWED`: RabbitMQ's word for a virtual host that is not for this user.
            ErrorKind::ProtocolError(error) if error.get_id() == 530 => Some(self.vhost_reason()),
            // AMQP's `ACCESS_REFUSED`.
            ErrorKind::ProtocolError(error) if error.get_id() == 403 => Some(
                "the broker refuses the login: look at the user and the password in amqp.url, whose \
                 special characters have to be percent-encoded, and mind that RabbitMQ lets guest in \
                 from its own machine only"
                    .to_owned(),
            ),
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => {
                Some(self.not_amqp_reason())
            }
            _ => None,
        }
    }

    fn vhost_reason(&self) -> String {
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

    fn io_reason(&self, error: &io::Error) -> Option<String> {
        let inner = error.get_ref();
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return self.tls_reason(error);
        }
        match (error.kind(), &self.scheme) {
            (io::ErrorKind::ConnectionRefused, _) => Some(
                "no server listens there: look at the host and the port in amqp.url".to_owned(),
            ),
            (
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
                _,
            ) => Some(self.not_amqp_reason()),
            // The system's resolver has no kind of its own.
            _ if error.raw_os_error().is_none() && error.to_string().contains("lookup") => {
                Some("there is no such host: look at the host in amqp.url".to_owned())
            }
            _ => None,
        }
    }

    /// For a server that hangs up, or answers with another protocol than AMQP.
    fn not_amqp_reason(&self) -> String {
        match self.scheme {
            AMQPScheme::AMQP => {
                "what listens there hung up, or does not speak AMQP without TLS: the broker behind it \
                 may be down; for a port with TLS (most often 5671) amqp.url begins with amqps://"
            }
            AMQPScheme::AMQPS => {
                "what listens there hung up, or does not speak AMQP over TLS: the broker behind it may be \
                 down; for a port without TLS (most often 5672) amqp.url begins with amqp://"
            }
        }
        .to_owned()
    }

    fn tls_reason(&self, error: &rustls::Error) -> Option<String> {
        if let rustls::Error::InvalidMessage(_) = error {
            return Some(self.not_amqp_reason());
        }
        let reason = match TlsFault::from_error(error)? {
            TlsFault::UnknownAuthority => {
                "the broker's certificate is from an authority that is not trusted: name the file with \
                 that authority's certificate in amqp.ca_file"
            }
            TlsFault::OtherHost => {
                "the broker's certificate is not for the host in amqp.url: write the name that stands \
                 in the certificate, or have it issued for this one"
            }
            TlsFault::OutsideValidity => {
                "have the broker's certificate renewed, or set this machine's clock"
            }
            TlsFault::ClientRefused | TlsFault::HandshakeRefused => {
                "the broker does not accept the client's certificate: look at amqp.cert_file and \
                 amqp.key_file, and at the authorities that the broker trusts"
            }
        };
        Some(reason.to_owned())
    }
}
