//! The connections that there are: how many, from where, and which of them are given up.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::metrics::Metrics;
use crate::watch::{Patience, Verdict, Watch};

#[derive(Debug, Default)]
struct Held {
    connections: HashMap<u64, Arc<Watch>>,
    by_network: HashMap<IpAddr, usize>,
    next: u64,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Registry {
    held: Mutex<Held>,
    most: usize,
    most_of_one: usize,
    metrics: Arc<Metrics>,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    number: u64,
    network: Option<IpAddr>,
    /// The connection.
    pub(crate) watch: Arc<Watch>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many, and none that is idle.
    All,
    /// There are too many from this address.
    Address,
}

/// What counts as one address: a client has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mut parts = v6.octets();
            for part in parts.iter_mut().skip(8) {
                *part = 0;
            }
            Ipv6Addr::from(parts).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Registry {
    pub(crate) fn new(most: usize, most_of_one: usize, metrics: Arc<Metrics>) -> Self {
        Self { held: Mutex::default(), most, most_of_one, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `peer`; `exempt` ones are counted, but not against their address. When all places
    /// are taken, the connection that has been idle longest goes.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr, exempt: bool, now: Instant) -> Result<Place, Full> {
        let network = (!exempt).then(|| network(peer));
        let mut held = self.lock();
        let of_one = network.and_then(|network| held.by_network.get(&network)).copied().unwrap_or_default();
        if of_one >= self.most_of_one {
            return Err(Full::Address);
        }
        if held.connections.len() >= self.most {
            let idle = held.connections.values().filter_map(|watch| Some((watch.idle_since()?, watch)));
            let (_, oldest) = idle.min_by_key(|(since, _)| *since).ok_or(Full::All)?;
            if oldest.give_up(Verdict::Evicted) {
                self.metrics.given_up(Verdict::Evicted.as_str());
            }
            // Its place is free in a moment, when its task has ended; far over the bound nobody is let in.
            if held.connections.len() >= self.most + self.most / 8 + 8 {
                return Err(Full::All);
            }
        }
        let number = held.next;
        held.next += 1;
        let watch = Arc::new(Watch::new(now));
        held.connections.insert(number, Arc::clone(&watch));
        if let Some(network) = network {
            *held.by_network.entry(network).or_default() += 1;
        }
        drop(held);
        Ok(Place { registry: Arc::clone(self), number, network, watch })
    }

    /// Connections that there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Looks at the rules of every connection and says which were broken.
    pub(crate) fn check(&self, now: Instant, patience: &Patience) -> Vec<Verdict> {
        let watches: Vec<Arc<Watch>> = self.lock().connections.values().cloned().collect();
        watches.iter().filter_map(|watch| watch.check(now, patience)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.registry.lock();
        held.connections.remove(&self.number);
        if let Some(network) = self.network
            && let Some(count) = held.by_network.get_mut(&network)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_share() {
        let registry = Arc::new(Registry::new(100, 2, Arc::new(Metrics::new())));
        let now = Instant::now();
        let first = registry.enter(ip("2001:db8::1"), false, now).unwrap();
        let _second = registry.enter(ip("2001:db8::2"), false, now).unwrap();
        assert_eq!(registry.enter(ip("2001:db8::3"), false, now).unwrap_err(), Full::Address);
        let _exempt = registry.enter(ip("2001:db8::3"), true, now).unwrap();
        let _elsewhere = registry.enter(ip("2001:db8:0:1::1"), false, now).unwrap();
        drop(first);
        let _third = registry.enter(ip("2001:db8::3"), false, now).unwrap();
        assert_eq!(registry.enter(ip("2001:db8::4"), false, now).unwrap_err(), Full::Address);
        let _mapped = registry.enter(ip("::ffff:10.0.0.1"), false, now).unwrap();
        let _plain = registry.enter(ip("10.0.0.1"), false, now).unwrap();
        assert_eq!(registry.enter(ip("10.0.0.1"), false, now).unwrap_err(), Full::Address);
    }

    #[test]
    fn the_longest_idle_one_makes_room() {
        let registry = Arc::new(Registry::new(2, 10, Arc::new(Metrics::new())));
        let now = Instant::now();
        let old = registry.enter(ip("10.0.0.1"), false, now).unwrap();
        let busy = registry.enter(ip("10.0.0.1"), false, now).unwrap();
        busy.watch.request_began();
        let new = registry.enter(ip("10.0.0.1"), false, now + Duration::from_secs(1)).unwrap();
        assert_eq!((old.watch.verdict(), busy.watch.verdict()), (Some(Verdict::Evicted), None));
        drop(old);
        new.watch.request_began();
        assert_eq!(registry.enter(ip("10.0.0.1"), false, now).unwrap_err(), Full::All, "nobody is idle");
        drop((busy, new));
        assert_eq!((registry.len(), registry.lock().by_network.len()), (0, 0));
    }
}
