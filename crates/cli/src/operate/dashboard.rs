//! `inflight dashboard`: the page over a store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inflight::core::RequestId;
use inflight::store::StoreView;
use tokio::time::timeout;

use crate::args::DashboardArguments;
use crate::dashboard::{Control, Dashboard, Token, Watched};
use crate::durable::{StoreError, shown};
use crate::monitor::{Fleet, Past, Request, Snapshot};
use crate::operate::Failure;
use crate::signals::Signals;
use crate::stream::remark;

/// How often the store is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The pause between two looks is so many times as long as the look took, so that a large store has other things to do.
const PAUSE: u32 = 9;

/// Serves the page until a signal comes, and gives its exit status.
pub(crate) fn dashboard(arguments: &DashboardArguments) -> Result<u8, Failure> {
    let url = &arguments.store.url;
    let token = Token::of_environment()?;
    let mut view = StoreView::open(url).map_err(|source| StoreError::of(url, source))?;
    let fleet = Arc::new(Fleet::new(shown(url)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Signals::new()?;
    let mut took = look(&mut view, &fleet);
    let page = Dashboard::start(arguments.listen, token, OfStore(Arc::clone(&fleet)))?;
    remark(&format!("dashboard: {}\n", page.url()));
    loop {
        let pause = EVERY.max(took * PAUSE);
        if let Ok(status) = runtime.block_on(async { timeout(pause, signals.next()).await }) {
            page.run_ended();
            return Ok(status);
        }
        took = look(&mut view, &fleet);
    }
}

/// Gives how long it took.
fn look(view: &mut StoreView, fleet: &Fleet) -> Duration {
    let began = Instant::now();
    match view.look() {
        Ok(overview) => fleet.looked(overview),
        Err(error) => fleet.away(&error.to_string()),
    }
    began.elapsed()
}

struct OfStore(Arc<Fleet>);

impl Watched for OfStore {
    fn state(&self, has_ended: bool, past: Past) -> Snapshot {
        self.0.snapshot(has_ended, past)
    }

    fn request(&self, id: RequestId) -> Option<Request> {
        self.0.request(id)
    }

    fn control(&self) -> Option<&dyn Control> {
        None
    }
}
