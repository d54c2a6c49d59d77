//! Sealing under a key of 32 bytes: XChaCha20-Poly1305. The only place that knows the cipher.

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use zeroize::Zeroizing;

/// Bytes of a nonce: enough that random ones never meet.
pub const NONCE_BYTES: usize = 24;
/// How many bytes longer than its text a sealed text is: the nonce before it, the tag behind it.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + 16;

/// A key to seal under. Wiped when dropped.
#[derive(Clone)]
pub struct SealingKey(XChaCha20Poly1305);

impl SealingKey {
    /// Takes the 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(bytes.into()))
    }

    /// Seals a text; it opens only together with the same `bound_to`. `nonce` must be random, and used once. `None` when the
    /// text is longer than 256 GiB.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], bound_to: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: text, aad: bound_to }).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) sealed under this key; `None` when it was another one, or bound to something else, or
    /// anything was changed.
    #[must_use]
    pub fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: bound_to };
        self.0.decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }
}
