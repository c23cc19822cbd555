//! A store and its journal in one log, so that a test can cut it off after any write.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::{
    Journal, JournalEntry, Kept, Outcome, Request, RequestId, RequestStatus, Row, Store, StoreError, Written,
};

/// One write.
#[derive(Clone)]
pub(crate) enum Event {
    Entry(JournalEntry),
    Row(RequestId, Request),
    Sent(RequestId),
    Ended(RequestId, RequestStatus, Outcome),
}

/// A store that writes at once, with the run's journal, in the order in which it is asked; up to the write after which the process
/// is to die.
#[derive(Clone)]
pub(crate) struct Log {
    events: Arc<Mutex<Vec<Event>>>,
    most: usize,
    /// Whom to tell that rows are written, where that takes its time.
    pub(crate) untold: Option<Arc<Mutex<Vec<Written>>>>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            events: Arc::default(),
            most: usize::MAX,
            untold: None,
        }
    }
}

impl Log {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// What is left where the process died after so many writes.
    pub(crate) fn cut(&self, writes: usize) -> Self {
        Self {
            events: Arc::new(Mutex::new(self.events()[..writes].to_vec())),
            most: usize::MAX,
            untold: self.untold.as_ref().map(|_| Arc::default()),
        }
    }

    /// What is left of it, for a process that dies after so many further writes.
    pub(crate) fn and(&self, further: usize) -> Self {
        let events = self.events();
        Self {
            most: events.len().saturating_add(further),
            events: Arc::new(Mutex::new(events)),
            untold: self.untold.as_ref().map(|_| Arc::default()),
        }
    }

    fn push(&self, event: Event) -> Result<(), StoreError> {
        let mut events = self.events.lock().unwrap();
        if events.len() >= self.most {
            return Err(StoreError::new("the process is dead"));
        }
        events.push(event);
        Ok(())
    }

    pub(crate) fn entries(&self) -> Vec<JournalEntry> {
        let entry = |event| match event {
            Event::Entry(entry) => Some(entry),
            _ => None,
        };
        self.events().into_iter().filter_map(entry).collect()
    }

    /// How many of the script's lines were written down.
    pub(crate) fn lines(&self) -> usize {
        self.entries().iter().filter(|entry| entry.operation == "print").count()
    }

    /// The requests, in the order in which they were written.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let mut kept: Vec<Kept> = Vec::new();
        for event in self.events() {
            let at = |kept: &[Kept], id| kept.iter().position(|kept| kept.id == id).unwrap();
            match event {
                Event::Entry(_) => {}
                Event::Row(id, request) => kept.push(Kept {
                    id,
                    request,
                    deadline: Duration::from_secs(600),
                    attempts: 0,
                    sent_ago: None,
                    ended: None,
                }),
                Event::Sent(id) => {
                    let at = at(&kept, id);
                    kept[at].attempts += 1;
                    kept[at].sent_ago = Some(Duration::ZERO);
                }
                Event::Ended(id, status, outcome) => {
                    let at = at(&kept, id);
                    kept[at].ended = Some((status, outcome));
                }
            }
        }
        kept
    }

    /// Of those, the ones that have not ended.
    pub(crate) fn unended(&self) -> impl Iterator<Item = Kept> {
        self.kept().into_iter().filter(|kept| kept.ended.is_none())
    }
}

impl Store for Log {
    fn append(&self, rows: Vec<Row>, done: Written) {
        let mut rows = rows.into_iter().map(|row| Event::Row(row.id, row.request));
        let written = rows.try_for_each(|row| self.push(row));
        match &self.untold {
            Some(untold) if written.is_ok() => untold.lock().unwrap().push(done),
            _ => done(written),
        }
    }
    fn sent(&self, id: RequestId, _: u32, done: Written) {
        done(self.push(Event::Sent(id)));
    }
    fn ended(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written) {
        done(self.push(Event::Ended(id, status, outcome.clone())));
    }
}

impl Journal for Log {
    fn entries(&self) -> Result<Vec<JournalEntry>, StoreError> {
        Ok(Log::entries(self))
    }
    fn write(&self, entry: JournalEntry) -> Result<(), StoreError> {
        self.push(Event::Entry(entry))
    }
}
