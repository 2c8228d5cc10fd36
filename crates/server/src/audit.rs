//! One line for every export: who, what, how many, and how it ended. It never holds a UID or a secret.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use headcount::Summary;
use headcount::method::Outcome;

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All of it was handed to the connection.
    Whole,
    /// It failed on our side.
    Failed,
    /// The client took too little for too long.
    SlowClient,
    /// The connection ended before.
    ClientGone,
    /// The server was stopped before.
    Stopped,
}

impl End {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Failed => "failed",
            Self::SlowClient => "slow_client",
            Self::ClientGone => "client_gone",
            Self::Stopped => "stopped",
        }
    }
}

/// What is said of an export when it has ended.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) outcome: Outcome,
    pub(crate) client: IpAddr,
    pub(crate) began: Instant,
    /// HTTP status.
    pub(crate) status: u16,
}

impl Audit {
    /// Users and identities, where all of them were counted.
    pub(crate) fn counts(&self, summary: Option<&Summary>) -> Option<(u64, u64)> {
        match summary {
            Some(summary) => Some((summary.users, summary.identities)),
            None => self.outcome.users.zip(self.outcome.identities),
        }
    }

    /// Writes the line.
    pub(crate) fn write(&self, end: End, counts: Option<(u64, u64)>, bytes: u64, error: Option<&str>) {
        let took: Duration = self.began.elapsed();
        let (users, identities) = counts.unzip();
        tracing::info!(
            target: "headcount::audit",
            callId = %self.outcome.call_id,
            apiKey = self.outcome.api_key.as_deref(),
            userKey = self.outcome.user_key.as_deref(),
            client = %self.client,
            seq = self.outcome.seq,
            status = self.status,
            outcome = end.as_str(),
            users,
            identities,
            bytes,
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error,
            "export"
        );
    }
}
