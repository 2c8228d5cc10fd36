//! What all connections share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use headcount::method::Sites;

use crate::bodies::Bodies;
use crate::config::{Limits, Network};
use crate::metrics::{Metrics, Now};
use crate::registry::Registry;
use crate::slots::{Bounds, Slots};
use crate::transfer::Transfers;
use crate::watch::Patience;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) registry: Arc<Registry>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) bodies: Bodies,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) metrics: Arc<Metrics>,
    trusted: RwLock<Vec<Network>>,
    draining: AtomicBool,
}

impl Shared {
    pub(crate) fn new(limits: Limits, trusted: Vec<Network>) -> Self {
        let bounds = Bounds {
            rendered: limits.exports,
            under_way: limits.transfers,
            of_one_key: limits.transfers_per_key,
            waiting: limits.queue,
            wait: Duration::from_secs(limits.queue_seconds),
        };
        let metrics = Arc::new(Metrics::new());
        let registry = Registry::new(limits.connections, limits.connections_per_address, Arc::clone(&metrics));
        Self {
            registry: Arc::new(registry),
            slots: Arc::new(Slots::new(bounds)),
            bodies: Bodies::new(&limits),
            transfers: Arc::default(),
            metrics,
            trusted: RwLock::new(trusted),
            draining: AtomicBool::new(false),
            limits,
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            request: Duration::from_secs(self.limits.request_seconds),
            idle: Duration::from_secs(self.limits.idle_seconds),
            slow: Duration::from_secs(self.limits.slow_seconds),
            slow_bytes: self.limits.slow_bytes,
        }
    }

    /// Whether what `address` says of its own clients is believed.
    pub(crate) fn is_trusted(&self, address: IpAddr) -> bool {
        let trusted = self.trusted.read().unwrap_or_else(PoisonError::into_inner);
        trusted.iter().any(|network| network.contains(address))
    }

    pub(crate) fn trust(&self, networks: Vec<Network>) {
        *self.trusted.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// From now on the server is not ready for requests.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The answer to a question of whoever watches the server: HTTP status and text.
    pub(crate) fn probe(&self, path: &str) -> Option<(u16, &'static str)> {
        match path {
            "/healthz" => Some((200, "ok\n")),
            "/readyz" if self.draining.load(Ordering::Relaxed) => Some((503, "stopping\n")),
            "/readyz" => Some((200, "ready\n")),
            _ => None,
        }
    }

    /// The text of the metrics.
    pub(crate) fn metrics_text(&self, sites: &Sites) -> String {
        let now =
            Now { under_way: self.slots.under_way(), waiting: self.slots.waiting(), connections: self.registry.len() };
        self.metrics.text(sites, now)
    }
}
