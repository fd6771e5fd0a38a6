//! Sealing of live data: plain values of unlisted keys never reach the disk.
//!
//! XChaCha20-Poly1305 with a random nonce a row: at 192 bits nonces may be drawn without keeping
//! count. The seal is bound to the interaction, so that a row's live data, copied into another row,
//! does not open there. Layout of the stored bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this layout, 1 |
//! | 4 | key id: the first bytes of the key's SHA-256 |
//! | 24 | nonce |
//! | rest | ciphertext, then its tag of 16 bytes |
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha, section 2.3) is ChaCha20-Poly1305 (RFC 8439) under a key
//! that HChaCha20 makes of ours and of the first 16 bytes of the nonce. So it is put together here of
//! HChaCha20 and of ring's ChaCha20-Poly1305, which needs a third of the time of a cipher in plain Rust.
//!
//! Keys are zeroed when dropped; a key derived for a single row is not. Deliberately absent:
//! reading keys from files (`key_file.rs`), and re-sealing under a new key; live data is short-lived, and
//! every message of an interaction seals it anew under the current key.

use chacha20::cipher::consts::U10;
use chacha20::hchacha;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::domain::Identity;
use crate::domain::digest::{Hex, sha256};
use crate::pipeline::ports::{Plaintext, StoreError, StoredLiveData};

/// The layout written by this version; part of the authenticated data.
const VERSION: u8 = 1;
/// Bytes of a key's id. Enough to tell a handful of keys apart; a clash only costs a second try.
const KEY_ID_BYTES: usize = 4;
/// Bytes of an XChaCha20 nonce.
const NONCE_BYTES: usize = 24;
/// How many of them go into the key of a row; the others are its nonce under that key.
const KEY_NONCE_BYTES: usize = 16;
/// Bytes of a Poly1305 tag.
const TAG_BYTES: usize = 16;
/// Where the ciphertext begins.
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// The keys of live data: one seals, all open.
pub struct LiveKeys {
    current: LiveKey,
    old: Vec<LiveKey>,
}

struct LiveKey {
    id: [u8; KEY_ID_BYTES],
    key: Zeroizing<[u8; 32]>,
}

impl LiveKeys {
    /// Seals with `current`, opens with all of them.
    pub fn new(current: &[u8; 32], old: &[[u8; 32]]) -> LiveKeys {
        LiveKeys { current: LiveKey::new(current), old: old.iter().map(LiveKey::new).collect() }
    }

    /// Seals the live data of rows, each for its interaction and under a nonce of its own. A row without
    /// live data stays without.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn seal<'r>(
        &self,
        rows: impl ExactSizeIterator<Item = (&'r Identity<'r>, Option<&'r Plaintext>)>,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        // Asked for once: each question is a call to the system.
        let mut nonces = vec![[0; NONCE_BYTES]; rows.len()];
        getrandom::fill(nonces.as_flattened_mut())
            .map_err(|_| StoreError::Unavailable("the system has no randomness".to_owned()))?;
        let seal = |((identity, plain), nonce): ((_, Option<_>), _)| {
            plain.map(|plain| self.current.seal(identity, plain, nonce)).transpose()
        };
        rows.zip(&nonces).map(seal).collect()
    }

    /// Opens what [`LiveKeys::seal`] made for the same interaction. What no key opens, for want of
    /// the key or because it was sealed elsewhere or damaged, is [`StoredLiveData::Locked`]: it concerns one
    /// row and must not fail its neighbours.
    pub(super) fn open(&self, identity: &Identity<'_>, sealed: &[u8]) -> StoredLiveData {
        let Some(parts) = Parts::split(sealed) else { return locked(sealed) };
        let keys = std::iter::once(&self.current).chain(&self.old);
        let plain = keys.filter(|key| key.id == parts.key_id).find_map(|key| {
            let (key, nonce) = key.for_row(parts.nonce)?;
            let mut plain = parts.ciphertext.to_vec();
            let opened = key.open_in_place(nonce, Aad::from(bound_to(identity)), &mut plain);
            let length = opened.ok()?.len();
            plain.truncate(length);
            Some(plain)
        });
        plain.map_or_else(|| locked(sealed), |plain| StoredLiveData::Open(Plaintext(plain)))
    }
}

impl LiveKey {
    fn new(key: &[u8; 32]) -> LiveKey {
        LiveKey { id: sha256(&[key]), key: Zeroizing::new(*key) }
    }

    fn seal(
        &self,
        identity: &Identity<'_>,
        plain: &Plaintext,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, StoreError> {
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.0.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(nonce);
        sealed.extend_from_slice(&plain.0);
        let tag = self.for_row(nonce).and_then(|(key, nonce)| {
            let (associated, plain) = (bound_to(identity), &mut sealed[HEADER_BYTES..]);
            key.seal_in_place_separate_tag(nonce, Aad::from(associated), plain).ok()
        });
        let too_large = || StoreError::Refused("live data above the cipher's 256 GiB".to_owned());
        sealed.extend_from_slice(tag.ok_or_else(too_large)?.as_ref());
        Ok(sealed)
    }

    /// The key that is for this one nonce, and the nonce under it. There are both for a nonce of
    /// [`NONCE_BYTES`].
    fn for_row(&self, nonce: &[u8]) -> Option<(LessSafeKey, Nonce)> {
        let (of_key, rest) = nonce.split_at_checked(KEY_NONCE_BYTES)?;
        let key = hchacha::<U10>(self.key.as_slice().into(), of_key.into());
        let mut nonce = [0; 12];
        nonce.last_chunk_mut::<8>()?.copy_from_slice(rest.first_chunk::<8>()?);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?;
        Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
    }
}

/// The parts of a sealed value.
struct Parts<'s> {
    key_id: &'s [u8],
    nonce: &'s [u8],
    /// With its tag.
    ciphertext: &'s [u8],
}

impl Parts<'_> {
    /// `None` for another version's layout, and for data too short to be sealed.
    fn split(sealed: &[u8]) -> Option<Parts<'_>> {
        let (&version, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_at_checked(KEY_ID_BYTES)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES)?;
        let is_one = version == VERSION && ciphertext.len() >= TAG_BYTES;
        is_one.then_some(Parts { key_id, nonce, ciphertext })
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
fn locked(sealed: &[u8]) -> StoredLiveData {
    let key_id = sealed.get(1..).unwrap_or_default();
    StoredLiveData::Locked(Hex(&key_id[..key_id.len().min(KEY_ID_BYTES)]).to_string())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use chacha20poly1305::aead::{Aead as _, Payload};
    use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};

    use super::*;

    fn identity(tenant: &'static str, id: &'static str) -> Identity<'static> {
        Identity { tenant: Cow::Borrowed(tenant), id: Cow::Borrowed(id) }
    }

    fn seal(keys: &LiveKeys, owner: &Identity<'_>, plain: &str) -> Vec<u8> {
        let plain = Plaintext(plain.into());
        let sealed = keys.seal([(owner, Some(&plain))].into_iter());
        sealed.expect("the system has randomness").remove(0).expect("there was some live data")
    }

    /// RustCrypto's cipher, as another hand has written it.
    #[test]
    fn ciphertext_is_xchacha20_poly1305() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let owner = identity("t", "ab");
        for length in [0, 1, 15, 16, 63, 64, 65, 255, 1_024, 5_000] {
            let plain: String = ('a'..='z').cycle().take(length).collect();
            let sealed = seal(&keys, &owner, &plain);
            let (header, ciphertext) = sealed.split_at(HEADER_BYTES);
            let other = XChaCha20Poly1305::new(&[7; 32].into());
            let nonce = XNonce::from_slice(&header[1 + KEY_ID_BYTES..]);
            let payload = Payload { msg: ciphertext, aad: &bound_to(&owner) };
            let opened = other.decrypt(nonce, payload).expect("the same cipher");
            assert_eq!(opened, plain.as_bytes(), "{length} bytes");
            let payload = Payload { msg: plain.as_bytes(), aad: &bound_to(&owner) };
            let its = other.encrypt(nonce, payload).expect("the same cipher");
            assert_eq!(its, ciphertext, "{length} bytes");
        }
    }

    #[test]
    fn row_without_live_data_stays_without() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let (a, b) = (identity("t", "a"), identity("t", "b"));
        let plain = Plaintext(b"secret".to_vec());
        let sealed = keys.seal([(&a, None), (&b, Some(&plain))].into_iter());
        let sealed = sealed.expect("the system has randomness");
        assert_eq!(sealed[0], None);
        let opened = keys.open(&b, sealed[1].as_ref().expect("there was some"));
        assert!(matches!(opened, StoredLiveData::Open(opened) if opened == plain));
    }

    #[test]
    fn opens_only_for_same_interaction() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let sealed = seal(&keys, &identity("t", "ab"), "secret");
        let opens = |owner| matches!(keys.open(&owner, &sealed), StoredLiveData::Open(p) if p.0 == b"secret");
        assert!(opens(identity("t", "ab")));
        for other in [("t", "ac"), ("u", "ab"), ("ta", "b"), ("", "tab")] {
            assert!(!opens(identity(other.0, other.1)), "{other:?}");
        }
    }

    #[test]
    fn each_seal_differs() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let owner = identity("t", "a");
        assert_ne!(seal(&keys, &owner, "secret"), seal(&keys, &owner, "secret"));
    }

    #[test]
    fn tampered_or_truncated_data_is_locked() {
        let keys = LiveKeys::new(&[7; 32], &[]);
        let owner = identity("t", "a");
        let sealed = seal(&keys, &owner, "secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(matches!(keys.open(&owner, &changed), StoredLiveData::Locked(_)), "byte {at}");
            assert!(
                matches!(keys.open(&owner, &sealed[..at]), StoredLiveData::Locked(_)),
                "{at} bytes"
            );
        }
    }

    #[test]
    fn old_key_opens_and_unknown_key_is_named() {
        let owner = identity("", "a");
        let sealed = seal(&LiveKeys::new(&[1; 32], &[]), &owner, "secret");
        let rotated = LiveKeys::new(&[2; 32], &[[1; 32]]);
        assert!(matches!(rotated.open(&owner, &sealed), StoredLiveData::Open(_)));
        let StoredLiveData::Locked(key_id) = LiveKeys::new(&[2; 32], &[]).open(&owner, &sealed)
        else {
            panic!("opened without its key");
        };
        assert_eq!(
            key_id,
            format!("{:02x}{:02x}{:02x}{:02x}", sealed[1], sealed[2], sealed[3], sealed[4])
        );
    }
}
