//! Links that end somebody's mails: the subscriber's id, which says nothing, and a code that only this installation makes.
//! Whoever has the link may unsubscribe, and nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{ids::SubscriberId, pepper::Peppers};

const LABEL: &str = "claviger.unsubscribe.v1";
const CODE_BYTES: usize = 16;

/// Makes and checks the links.
pub struct Links {
    /// One for each pepper, the current one first.
    keys: Vec<Zeroizing<[u8; 32]>>,
}

impl Links {
    /// Links under a key derived from the current pepper; those under retired ones still hold, because mails are kept for
    /// years.
    #[must_use]
    pub fn new(peppers: &Peppers) -> Self {
        Self { keys: peppers.all().map(|pepper| pepper.derive(LABEL)).collect() }
    }

    /// The path of the link that ends this subscriber's mails: `/unsubscribe/{subscriber}/{code}`.
    #[must_use]
    pub fn path(&self, subscriber: &SubscriberId) -> String {
        let code = self.keys.first().map_or_else(String::new, |key| code(key, subscriber));
        format!("/unsubscribe/{}/{code}", subscriber.as_str())
    }

    /// The subscriber whose link has these two parts; `None` unless this installation made it.
    #[must_use]
    pub fn check(&self, subscriber: &str, given: &str) -> Option<SubscriberId> {
        let subscriber = SubscriberId::parse(subscriber)?;
        let matches =
            |key: &Zeroizing<[u8; 32]>| -> bool { given.as_bytes().ct_eq(code(key, &subscriber).as_bytes()).into() };
        self.keys.iter().any(matches).then_some(subscriber)
    }
}

fn code(key: &[u8; 32], subscriber: &SubscriberId) -> String {
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(subscriber.as_str().as_bytes());
    URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..CODE_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(peppers: &[u8]) -> Links {
        let lines: Vec<String> = peppers.iter().map(|byte| format!("{byte:02x}").repeat(32)).collect();
        Links::new(&Peppers::parse(&lines.join("\n")).expect("peppers"))
    }

    fn parts(path: &str) -> (String, String) {
        match path.split('/').collect::<Vec<_>>()[..] {
            ["", "unsubscribe", subscriber, code] => (subscriber.to_owned(), code.to_owned()),
            _ => panic!("{path}"),
        }
    }

    #[test]
    fn a_link_fits_its_own_subscriber_and_no_byte_of_it_can_be_changed() {
        let (links, id) = (links(&[1]), SubscriberId::from_random([5; 16]));
        let (subscriber, code) = parts(&links.path(&id));
        assert_eq!(subscriber, id.as_str());
        assert_eq!(code.len(), 22);
        assert_eq!(links.check(&subscriber, &code), Some(id));
        let whole = [subscriber.as_bytes(), code.as_bytes()].concat();
        for index in 0..whole.len() {
            for other in (0..128).filter(|&other| other != whole[index]) {
                let mut changed = whole.clone();
                changed[index] = other;
                let changed = String::from_utf8(changed).expect("ASCII");
                let (subscriber, code) = changed.split_at(subscriber.len());
                assert_eq!(links.check(subscriber, code), None, "byte {index} = {other}");
            }
        }
        let (other, _) = parts(&links.path(&SubscriberId::from_random([6; 16])));
        for (subscriber, code) in [
            (&*other, &*code),
            (&*subscriber, ""),
            ("", &*code),
            ("", ""),
            (&*subscriber, &code[1..]),
            (&*subscriber, &format!("{code}=")),
            (&*subscriber, &format!("{code}A")),
            (&*code, &*subscriber),
        ] {
            assert_eq!(links.check(subscriber, code), None, "{subscriber:?} {code:?}");
        }
    }

    #[test]
    fn links_outlive_their_pepper_as_long_as_it_is_kept() {
        let id = SubscriberId::from_random([5; 16]);
        let (subscriber, code) = parts(&links(&[1]).path(&id));
        assert_eq!(links(&[2, 1]).check(&subscriber, &code), Some(id.clone()));
        assert_eq!(links(&[2]).check(&subscriber, &code), None);
        assert_ne!(links(&[2, 1]).path(&id), links(&[1]).path(&id));
    }
}
