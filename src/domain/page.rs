//! Pages of a list, and their tokens: opaque, authenticated, bound to the caller and to what was asked (R29, AIP-158).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{caller::Credential, limits, pepper::Peppers};

const LABEL: &str = "claviger.page-token.v1";
const TAG_BYTES: usize = 16;

/// Which page: how many entries, after which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most this many entries, 1 to 500.
    pub size: u64,
    /// After the entry with this id; `None` = from the start.
    pub after: Option<String>,
}

/// A page of a list, and where the next one starts.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The id of the last entry, if there are more.
    pub next: Option<String>,
}

/// Makes and checks page tokens.
pub struct PageTokens {
    /// One for each pepper, the current one first.
    keys: Vec<Zeroizing<[u8; 32]>>,
}

/// What a token is bound to: who asked, which list, with which filter.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// Who asked.
    pub caller: &'a Credential,
    /// The method.
    pub method: &'a str,
    /// Every field of the request but page_size and page_token, in order.
    pub filter: &'a [String],
}

/// Reads a `page_size`.
pub fn parse_page_size(size: i32) -> Result<u64, String> {
    match u64::try_from(size) {
        Ok(0) => Ok(limits::DEFAULT_PAGE_SIZE),
        Ok(size) if size <= limits::PAGE_SIZE => Ok(size),
        Ok(_) => Err(format!("must be at most {}", limits::PAGE_SIZE)),
        Err(_) => Err("must not be negative".to_owned()),
    }
}

impl<T> Paged<T> {
    /// Cuts `entries`, read one beyond `size`, to the page.
    #[must_use]
    pub fn cut(mut entries: Vec<T>, size: u64, id: impl Fn(&T) -> String) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = entries.len() > size;
        entries.truncate(size);
        let next = entries.last().filter(|_| more).map(id);
        Self { entries, next }
    }
}

impl PageTokens {
    /// Tokens under a key derived from the current pepper; those under retired ones are read too, because replicas change
    /// over one after the other.
    #[must_use]
    pub fn new(peppers: &Peppers) -> Self {
        Self { keys: peppers.all().map(|pepper| pepper.derive(LABEL)).collect() }
    }

    /// The token of the page after the entry `after`.
    #[must_use]
    pub fn seal(&self, binding: Binding<'_>, after: &str) -> String {
        let mut bytes = self.keys.first().map_or_else(Vec::new, |key| tag(key, binding, after).to_vec());
        bytes.extend_from_slice(after.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token back; the empty one is the first page.
    pub fn open(&self, binding: Binding<'_>, token: &str) -> Result<Option<String>, String> {
        if token.is_empty() {
            return Ok(None);
        }
        let wrong = || "is not a token of this list, filter and caller; start again without it".to_owned();
        if token.len() > limits::PAGE_TOKEN_CHARACTERS {
            return Err(wrong());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        let (given, after) = bytes.split_at_checked(TAG_BYTES).ok_or_else(wrong)?;
        let after = std::str::from_utf8(after).map_err(|_| wrong())?;
        let matches = |key: &Zeroizing<[u8; 32]>| -> bool { given.ct_eq(&tag(key, binding, after)[..]).into() };
        if self.keys.iter().any(matches) { Ok(Some(after.to_owned())) } else { Err(wrong()) }
    }
}

fn tag(key: &[u8; 32], binding: Binding<'_>, after: &str) -> [u8; TAG_BYTES] {
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    let caller = binding.caller.to_string();
    let parts = [caller.as_str(), binding.method, after];
    // Length-prefixed, so that no two bindings spell the same bytes (reliability.md R10).
    for part in parts.into_iter().chain(binding.filter.iter().map(String::as_str)) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use super::super::{ids::KeyName, peer_name::PeerName, pepper::Pepper};
    use super::*;

    #[test]
    fn a_token_fits_only_its_own_list_filter_and_caller() {
        let tokens = PageTokens::new(&Peppers::single(Pepper::new(&[1; 32])));
        let name = |text: &str| Credential::Key(KeyName::parse(text).expect("a name"));
        let id = super::super::ids::KeyId::from_random([5; 16]);
        let caller = name(&format!("tenants/a/serviceUsers/u/keys/{id}"));
        let other = name(&format!("tenants/b/serviceUsers/u/keys/{id}"));
        let called_as = |dns: &str| {
            let name = PeerName::parse(dns).expect("a name");
            Credential::Certificate { service_user: caller.owner().clone(), name }
        };
        let (certificate, another) = (called_as("dns:a.example.org"), called_as("dns:b.example.org"));
        let (filter, turned) = (["x".to_owned(), String::new()], [String::new(), "x".to_owned()]);
        let binding = Binding { caller: &caller, method: "m", filter: &filter };
        let token = tokens.seal(binding, "last");
        assert_eq!(tokens.open(binding, &token), Ok(Some("last".to_owned())));
        assert_eq!(tokens.open(binding, ""), Ok(None));
        for wrong in [
            Binding { caller: &other, ..binding },
            Binding { caller: &certificate, ..binding },
            Binding { method: "n", ..binding },
            Binding { filter: &turned, ..binding },
        ] {
            assert!(tokens.open(wrong, &token).is_err());
        }
        let by_certificate = tokens.seal(Binding { caller: &certificate, ..binding }, "last");
        assert!(tokens.open(Binding { caller: &another, ..binding }, &by_certificate).is_err());
        let mut changed = token.into_bytes();
        for index in 0..changed.len() {
            changed[index] ^= 1;
            assert!(tokens.open(binding, &String::from_utf8_lossy(&changed)).is_err(), "byte {index}");
            changed[index] ^= 1;
        }
    }

    #[test]
    fn page_sizes_have_bounds() {
        assert_eq!(parse_page_size(0), Ok(100));
        assert_eq!(parse_page_size(500), Ok(500));
        assert!(parse_page_size(501).is_err());
        assert!(parse_page_size(-1).is_err());
        assert!(parse_page_size(i32::MIN).is_err());
    }
}
