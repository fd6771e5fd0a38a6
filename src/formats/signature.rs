//! Signatures of webhooks: did who knows the secret send this body (docs/formats.md, *Signatures*)?
//!
//! Sinch's scheme: base64 of HMAC-SHA256 over the body as it came, a dot, a nonce, a dot, a
//! timestamp. Whatever is missing, cut short or not base64 is as wrong as a wrong signature, and takes
//! as long to refuse: the comparison is in constant time and over the full length.
//!
//! Deliberately absent: how old a signature may be. A message may have waited, or have been set aside
//! and replayed, for longer than any such bound; a repeat is noticed by its event's id.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

/// A webhook's secret, shared with the vendor. `Debug` tells nothing of it, not even its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Box<[u8]>);

impl SigningSecret {
    /// The secret with these bytes; `None` for none at all, which anybody could sign with.
    pub fn new(bytes: &[u8]) -> Option<SigningSecret> {
        (!bytes.is_empty()).then(|| SigningSecret(Box::from(bytes)))
    }

    /// Whether `claim` is this secret's signature of `body`.
    pub fn signed(&self, body: &[u8], claim: &Claim) -> bool {
        let Claim { signature: Some(signature), nonce: Some(nonce), timestamp: Some(timestamp) } =
            claim
        else {
            return false;
        };
        let Ok(signature) = BASE64.decode(signature) else { return false };
        let signed = [body, nonce.as_bytes(), timestamp.as_bytes()].join(&b'.');
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), &signed, &signature).is_ok()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(***)")
    }
}

/// What came with a body to prove where it is from: the webhook's HTTP headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The signature, in base64.
    pub signature: Option<String>,
    /// A text that the sender made up for this message.
    pub nonce: Option<String>,
    /// When it was signed, as the sender wrote it: seconds since the Unix epoch.
    pub timestamp: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"app_id":"01APP"}"#;
    /// By `openssl dgst -sha256 -hmac foo_secret1234 -binary | base64` over
    /// `{"app_id":"01APP"}.01FJA8B4A7BM43YGWSG9GBV067.1634579353`.
    const SIGNATURE: &str = "d0ZMzMyks0U1ajRl7oA3yyBMIoQOTuFosfwiLFuG/8A=";

    fn secret() -> SigningSecret {
        SigningSecret::new(b"foo_secret1234").expect("a secret")
    }

    fn claim(signature: &str) -> Claim {
        Claim {
            signature: Some(signature.to_owned()),
            nonce: Some("01FJA8B4A7BM43YGWSG9GBV067".to_owned()),
            timestamp: Some("1634579353".to_owned()),
        }
    }

    #[test]
    fn the_right_signature_is_right() {
        assert!(secret().signed(BODY, &claim(SIGNATURE)));
    }

    #[test]
    fn everything_else_is_wrong() {
        let right = claim(SIGNATURE);
        let text = |text: &str| Some(text.to_owned());
        for (name, claim) in [
            ("nothing at all", Claim::default()),
            ("no signature", Claim { signature: None, ..right.clone() }),
            ("no nonce", Claim { nonce: None, ..right.clone() }),
            ("no timestamp", Claim { timestamp: None, ..right.clone() }),
            ("an empty signature", claim("")),
            ("not base64", claim("!")),
            ("cut in base64", claim(&SIGNATURE[..SIGNATURE.len() - 4])),
            ("cut to one byte", claim("dw==")),
            ("longer", claim(&format!("AAAA{SIGNATURE}"))),
            ("another nonce", Claim { nonce: text("other"), ..right.clone() }),
            ("another time", Claim { timestamp: text("1634579354"), ..right.clone() }),
            (
                "the dot elsewhere",
                Claim {
                    nonce: text("01FJA8B4A7BM43YGWSG9GBV067.1634579353"),
                    timestamp: text(""),
                    ..right.clone()
                },
            ),
        ] {
            assert!(!secret().signed(BODY, &claim), "{name}");
        }
        assert!(!secret().signed(br#"{"app_id":"01APP" }"#, &right), "another body");
        let other = SigningSecret::new(b"foo_secret1235").expect("a secret");
        assert!(!other.signed(BODY, &right), "another secret");
    }

    #[test]
    fn a_secret_shows_nowhere_and_an_empty_one_is_none() {
        assert_eq!(format!("{:?}", secret()), "SigningSecret(***)");
        assert_eq!(SigningSecret::new(b""), None);
    }
}
