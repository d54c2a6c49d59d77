//! How many connections there may be: of one peer, and of all together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::limits;

/// Connections: all of them, and by peer.
#[derive(Default)]
pub(super) struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

pub(super) type Places = Mutex<Taken>;

/// A connection's place among those its peer, and all together, may have.
pub(super) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Place {
    pub(super) fn take(places: &Arc<Places>, address: IpAddr) -> Option<Self> {
        let peer = peer_of(address);
        let mut taken = places.lock();
        let own = taken.by_peer.get(&peer).copied().unwrap_or(0);
        if taken.all >= limits::CONNECTIONS || own >= limits::CONNECTIONS_PER_PEER {
            return None;
        }
        taken.all += 1;
        taken.by_peer.insert(peer, own + 1);
        Some(Self { places: Arc::clone(places), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        match taken.by_peer.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(taken.by_peer.remove(&self.peer)),
        }
    }
}

/// An IPv6 customer has a whole /64 to call from, and counts as one peer (RFC 6177).
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four @ IpAddr::V4(_) => four,
    }
}
