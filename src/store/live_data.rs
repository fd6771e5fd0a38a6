//! Sealing of live data: plain values of unlisted keys never reach the disk.
//!
//! XChaCha20-Poly1305 with a random nonce a row: at 192 bits nonces may be drawn without keeping
//! count. The seal is bound to the interaction, so that a row's live data, copied into another row,
//! does not open there. Layout of what is stored:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this layout, [`VERSION`] |
//! | 4 | key id: the first bytes of the key's SHA-256 |
//! | 24 | nonce |
//! | rest | ciphertext, then its tag of 16 bytes |
//!
//! Keys are zeroed when dropped. Deliberately absent: reading keys from files (`key_file.rs`), and
//! re-sealing under a new key; live data is short-lived, and every message of an interaction seals
//! it anew under the current key.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::domain::Identity;
use crate::pipeline::ports::{Live, Plaintext, StoreError};

/// The layout written by this version; part of what is authenticated.
const VERSION: u8 = 1;
/// Bytes of a key's id. Enough to tell a handful of keys apart; a clash only costs a second try.
const KEY_ID_BYTES: usize = 4;
/// Bytes of an XChaCha20 nonce.
const NONCE_BYTES: usize = 24;
/// Bytes of a Poly1305 tag.
const TAG_BYTES: usize = 16;
/// Where the ciphertext begins.
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// The keys of live data: one seals, all open.
pub(super) struct LiveKeys {
    current: LiveKey,
    old: Vec<LiveKey>,
}

struct LiveKey {
    id: [u8; KEY_ID_BYTES],
    cipher: XChaCha20Poly1305,
}

impl LiveKeys {
    /// Seals with `current`, opens with all of them.
    pub(super) fn new(current: &[u8; 32], old: &[[u8; 32]]) -> LiveKeys {
        LiveKeys { current: LiveKey::new(current), old: old.iter().map(LiveKey::new).collect() }
    }

    /// Seals `plain` for the interaction `identity`.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(super) fn seal(
        &self,
        identity: &Identity<'_>,
        plain: &Plaintext,
    ) -> Result<Vec<u8>, StoreError> {
        let mut nonce = XNonce::default();
        getrandom::fill(&mut nonce)
            .map_err(|_| StoreError::Unavailable("the system has no randomness".to_owned()))?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.0.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.current.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&plain.0);
        let tag = self
            .current
            .cipher
            .encrypt_in_place_detached(&nonce, &bound_to(identity), &mut sealed[HEADER_BYTES..])
            .map_err(|_| StoreError::Refused("live data above the cipher's 256 GiB".to_owned()))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what [`LiveKeys::seal`] made for the same interaction. What no key opens, for want of
    /// the key or because it was sealed elsewhere or damaged, is [`Live::Locked`]: it concerns one
    /// row and must not fail its neighbours.
    pub(super) fn open(&self, identity: &Identity<'_>, sealed: &[u8]) -> Live {
        let Some(parts) = Parts::of(sealed) else { return locked(sealed) };
        let associated = bound_to(identity);
        for key in std::iter::once(&self.current).chain(&self.old) {
            if key.id == parts.key_id {
                let mut plain = parts.ciphertext.to_vec();
                let opened = key.cipher.decrypt_in_place_detached(
                    XNonce::from_slice(parts.nonce),
                    &associated,
                    &mut plain,
                    Tag::from_slice(parts.tag),
                );
                if opened.is_ok() {
                    return Live::Open(Plaintext(plain));
                }
            }
        }
        locked(sealed)
    }
}

impl LiveKey {
    fn new(key: &[u8; 32]) -> LiveKey {
        let digest = Sha256::digest(key);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        LiveKey { id, cipher: XChaCha20Poly1305::new(key.into()) }
    }
}

/// What was sealed, taken apart.
struct Parts<'s> {
    key_id: &'s [u8],
    nonce: &'s [u8],
    ciphertext: &'s [u8],
    tag: &'s [u8],
}

impl Parts<'_> {
    /// `None` for another version's layout, and for what is too short to be a seal.
    fn of(sealed: &[u8]) -> Option<Parts<'_>> {
        let (&version, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_at_checked(KEY_ID_BYTES)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_BYTES)?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        (version == VERSION).then_some(Parts { key_id, nonce, ciphertext, tag })
    }
}

/// The associated data: layout version, length of the tenant, tenant, id. The length makes it
/// unambiguous where the tenant ends.
fn bound_to(identity: &Identity<'_>) -> Vec<u8> {
    let (tenant, id) = (identity.tenant.as_bytes(), identity.id.as_bytes());
    let mut associated = Vec::with_capacity(1 + 8 + tenant.len() + id.len());
    associated.push(VERSION);
    associated.extend_from_slice(&(tenant.len() as u64).to_be_bytes());
    associated.extend_from_slice(tenant);
    associated.extend_from_slice(id);
    associated
}

/// Live data that stays shut, named by the id of the key that it asks for.
fn locked(sealed: &[u8]) -> Live {
    let key_id = sealed.iter().skip(1).take(KEY_ID_BYTES);
    Live::Locked(key_id.map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn identity(tenant: &'static str, id: &'static str) -> Identity<'static> {
        Identity { tenant: Cow::Borrowed(tenant), id: Cow::Borrowed(id) }
    }

    fn seal(keys: &LiveKeys, whose: &Identity<'_>, plain: &str) -> Vec<u8> {
        keys.seal(whose, &Plaintext(plain.into())).expect("the system has randomness")
    }

    #[test]
    fn opens_what_it_sealed_for_the_same_interaction_only() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let sealed = seal(&keys, &identity("t", "ab"), "secret");
        let opens = |whose| matches!(keys.open(&whose, &sealed), Live::Open(p) if p.0 == b"secret");
        assert!(opens(identity("t", "ab")));
        for other in [("t", "ac"), ("u", "ab"), ("ta", "b"), ("", "tab")] {
            assert!(!opens(identity(other.0, other.1)), "{other:?}");
        }
    }

    #[test]
    fn every_seal_is_another() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let whose = identity("t", "a");
        assert_ne!(seal(&keys, &whose, "secret"), seal(&keys, &whose, "secret"));
    }

    #[test]
    fn any_changed_bit_and_any_cut_locks() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let whose = identity("t", "a");
        let sealed = seal(&keys, &whose, "secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(matches!(keys.open(&whose, &changed), Live::Locked(_)), "byte {at}");
            assert!(matches!(keys.open(&whose, &sealed[..at]), Live::Locked(_)), "{at} bytes");
        }
    }

    #[test]
    fn an_old_key_opens_and_an_unknown_one_is_named() {
        let whose = identity("", "a");
        let sealed = seal(&LiveKeys::new(&[1; 32], &[]), &whose, "secret");
        let rotated = LiveKeys::new(&[2; 32], &[[1; 32]]);
        assert!(matches!(rotated.open(&whose, &sealed), Live::Open(_)));
        let Live::Locked(key_id) = LiveKeys::new(&[2; 32], &[]).open(&whose, &sealed) else {
            panic!("opened without its key");
        };
        assert_eq!(
            key_id,
            format!("{:02x}{:02x}{:02x}{:02x}", sealed[1], sealed[2], sealed[3], sealed[4])
        );
    }
}
