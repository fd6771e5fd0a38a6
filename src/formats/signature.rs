//! Signatures of webhooks: was this body signed with the shared secret (docs/formats.md, *Signatures*)?
//!
//! Sinch's scheme: base64 of HMAC-SHA256 over the body as it came, a dot, a nonce, a dot, a
//! timestamp. Whatever is missing, cut short or not base64 is as wrong as a wrong signature, and takes
//! as long to refuse: the comparison is in constant time and over the full length.
//!
//! Deliberately absent: how old a signature may be. A message may have waited, or have been set aside and
//! replayed, for longer than any such bound; a repeat is detected by its event's id.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

/// A webhook's secret, shared with the vendor. `Debug` shows nothing of it, not even its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Box<[u8]>);

impl SigningSecret {
    /// The secret with these bytes; `None` if they are empty, because an empty secret protects nothing.
    pub fn new(bytes: &[u8]) -> Option<SigningSecret> {
        (!bytes.is_empty()).then(|| SigningSecret(Box::from(bytes)))
    }

    /// Whether `claim` is this secret's signature of `body`.
    pub fn signed(&self, body: &[u8], claim: &SignatureClaim) -> bool {
        let SignatureClaim { signature, nonce, timestamp } = claim;
        let (Some(signature), Some(nonce), Some(timestamp)) = (signature, nonce, timestamp) else {
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

/// The signature that came with a body, unverified: the HTTP headers of the webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureClaim {
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

    fn claim(signature: &str) -> SignatureClaim {
        SignatureClaim {
            signature: Some(signature.to_owned()),
            nonce: Some("01FJA8B4A7BM43YGWSG9GBV067".to_owned()),
            timestamp: Some("1634579353".to_owned()),
        }
    }

    #[test]
    fn accepts_valid_signature() {
        assert!(secret().signed(BODY, &claim(SIGNATURE)));
    }

    #[test]
    fn rejects_invalid_or_incomplete_signatures() {
        let right = claim(SIGNATURE);
        let text = |text: &str| Some(text.to_owned());
        for (name, claim) in [
            ("nothing at all", SignatureClaim::default()),
            ("no signature", SignatureClaim { signature: None, ..right.clone() }),
            ("no nonce", SignatureClaim { nonce: None, ..right.clone() }),
            ("no timestamp", SignatureClaim { timestamp: None, ..right.clone() }),
            ("an empty signature", claim("")),
            ("not base64", claim("!")),
            ("cut in base64", claim(&SIGNATURE[..SIGNATURE.len() - 4])),
            ("cut to one byte", claim("dw==")),
            ("longer", claim(&format!("AAAA{SIGNATURE}"))),
            ("another nonce", SignatureClaim { nonce: text("other"), ..right.clone() }),
            ("another time", SignatureClaim { timestamp: text("1634579354"), ..right.clone() }),
            (
                "the dot elsewhere",
                SignatureClaim {
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
    fn debug_hides_the_secret_and_empty_secret_is_none() {
        assert_eq!(format!("{:?}", secret()), "SigningSecret(***)");
        assert_eq!(SigningSecret::new(b""), None);
    }
}
