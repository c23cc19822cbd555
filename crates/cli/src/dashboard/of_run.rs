//! The page of a run.

use std::sync::Arc;

use inflight::Inflight;
use inflight::core::RequestId;

use crate::dashboard::{Control, Watched};
use crate::http::Answer;
use crate::metrics::Exposition;
use crate::monitor::{Monitor, Past, Request, Snapshot};

/// A run in this process.
pub(crate) struct OfRun {
    pub(crate) inflight: Arc<Inflight>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) exposition: Exposition,
}

impl Watched for OfRun {
    fn state(&self, has_ended: bool, past: Past) -> Snapshot {
        let is_paused = self.inflight.is_paused();
        self.monitor
            .snapshot(self.inflight.registry(), is_paused, has_ended, past)
    }

    fn request(&self, id: RequestId) -> Option<Request> {
        self.monitor.request(id)
    }

    fn control(&self) -> Option<&dyn Control> {
        Some(self)
    }
}

impl Control for OfRun {
    fn metrics(&self) -> Answer {
        self.exposition.answer(self.inflight.registry())
    }

    fn cancel(&self, id: RequestId) -> Option<bool> {
        // One that the registry has forgotten has ended.
        let ended = || self.monitor.request(id).map(|_| false);
        self.inflight.registry().cancel_anywhere(id).or_else(ended)
    }

    fn pause(&self, pause: bool) -> bool {
        if pause {
            self.inflight.pause();
        } else {
            self.inflight.resume();
        }
        self.inflight.is_paused()
    }
}
