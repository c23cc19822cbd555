//! What the writer is asked for.

use std::sync::Arc;

use inflight_core::{RequestId, StoreError};

use crate::append::Append;
use crate::runs::RunShared;
use crate::store::Shared;
use crate::transaction::{Ended, Journalled, Left, Sent};

/// What is asked for.
pub(crate) enum Order {
    Append(Append),
    Journal(Journalled),
    Sent(Sent),
    Ended(Ended),
    Settled(Ended),
    Cancel(RequestId),
    Left(Left),
    /// This start of a run is over.
    Release(Arc<RunShared>),
}

impl Order {
    /// Tells whoever waits that this is not written.
    pub(crate) fn refuse(self, error: &sqlx::Error, shared: &Shared) {
        let not_written = || StoreError::new(error.to_string());
        match self {
            Self::Append(append) => append.refuse(not_written(), shared),
            Self::Journal(entry) => entry.run.cut(error),
            Self::Sent(sent) => (sent.done)(Err(not_written())),
            Self::Ended(ended) => {
                shared.lose(ended.id, ended.epoch);
                (ended.done)(Err(not_written()));
            }
            Self::Settled(settled) => (settled.done)(Err(not_written())),
            Self::Release(run) => shared.started.remove(&run),
            Self::Cancel(_) | Self::Left(_) => {}
        }
    }
}

/// What is written together, in the order in which it was asked for: what is written one by one all the same is written in that order.
#[derive(Default)]
pub(crate) struct Writes(pub(crate) Vec<Order>);

/// Those of one kind.
macro_rules! of_kind {
    ($($name:ident: $kind:ident($of:ty),)*) => {
        $(pub(crate) fn $name(&self) -> impl Iterator<Item = &$of> + Clone {
            self.0.iter().filter_map(|order| match order {
                Order::$kind(asked) => Some(asked),
                _ => None,
            })
        })*
    };
}

impl Writes {
    of_kind! {
        appends: Append(Append),
        journalled: Journal(Journalled),
        sents: Sent(Sent),
        endeds: Ended(Ended),
        settleds: Settled(Ended),
        cancels: Cancel(RequestId),
        lefts: Left(Left),
        releases: Release(Arc<RunShared>),
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, order: Order) {
        self.0.push(order);
    }

    pub(crate) fn take_in(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    /// Puts attempts that have waited before all that was asked for since.
    pub(crate) fn put_first(&mut self, sents: &mut Vec<Sent>) {
        self.0.splice(0..0, sents.drain(..).map(Order::Sent));
    }

    /// Takes an order in while the database is away: those that submit are told so at once, all else is to be tried again.
    pub(crate) fn push_owed(&mut self, order: Order, error: &sqlx::Error, shared: &Shared) {
        match order {
            Order::Append(_) => return order.refuse(error, shared),
            Order::Journal(ref entry) => entry.run.note_trouble(error),
            _ => {}
        }
        self.push(order);
    }

    /// Answers those that submit: nothing was written of theirs. All else is to be tried again.
    pub(crate) fn refuse_new(&mut self, error: &sqlx::Error, shared: &Shared) {
        for order in std::mem::take(&mut self.0) {
            self.push_owed(order, error, shared);
        }
    }
}
