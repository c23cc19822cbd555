//! The state table: one function that says what each event does in each state.

use crate::Effect;

/// How far a request has come, as a script sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestStatus {
    /// Not ended yet.
    Pending,
    /// Carried out.
    Completed,
    /// Not carried out, or nobody knows.
    Failed,
    /// The request's own deadline passed.
    Timeout,
    /// Cancelled before it was sent.
    Cancelled,
}

impl RequestStatus {
    /// `pending`, `completed`, `failed`, `timeout` or `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of one request: the four phases of `Pending`, and the four endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// A durable store is writing the request down; skipped where there is none.
    Recording,
    /// Waiting to be sent: no byte of it has left.
    Queued,
    /// Sent at least in part, perhaps more than once.
    Sent,
    /// Sent before, and waiting for a further attempt: no attempt is under way. The effect is what is known of those made so far.
    Waiting(Effect),
    /// Carried out.
    Completed,
    /// Failed, with this effect on the other side.
    Failed(Effect),
    /// The deadline passed, with this effect on the other side.
    Timeout(Effect),
    /// Cancelled before it was sent.
    Cancelled,
}

impl State {
    /// What a script sees of this state.
    #[must_use]
    pub fn status(self) -> RequestStatus {
        match self {
            Self::Recording | Self::Queued | Self::Sent | Self::Waiting(_) => RequestStatus::Pending,
            Self::Completed => RequestStatus::Completed,
            Self::Failed(_) => RequestStatus::Failed,
            Self::Timeout(_) => RequestStatus::Timeout,
            Self::Cancelled => RequestStatus::Cancelled,
        }
    }

    /// Whether the request has ended.
    #[must_use]
    pub fn is_ended(self) -> bool {
        self.status() != RequestStatus::Pending
    }
}

/// Something that happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The store has the request.
    Recorded,
    /// The store refused the request.
    NotRecorded,
    /// The first byte of an attempt is about to leave.
    Send,
    /// An attempt has failed, and a further one is to come later; the effect is what is known of the attempts made so far.
    Wait(Effect),
    /// A trustworthy answer says that the request was carried out.
    Succeed,
    /// The request has failed for good, with this effect.
    Fail(Effect),
    /// The request's deadline has passed; the effect is what is known of the attempts made so far.
    DeadlinePassed(Effect),
    /// Someone wants the request not to be sent.
    Cancel,
    /// The worker stops, and the request is not going to be sent.
    Shutdown,
    /// This process stops, and the request stays in the durable store: it is sent, or sent again, by another process or the next.
    Left,
    /// An answer arrived after the request had ended.
    LateAnswer(Effect),
    /// Someone looked at the other side and knows now: `Done` or `None`.
    Reconciled(Effect),
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The request is in this state from now on.
    To(State),
    /// Nothing changes, and that is fine.
    Ignore(Ignored),
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// A further attempt of a request that has been sent before.
    SentAgain,
    /// It cannot be cancelled any more: its effect may be real.
    AlreadySent,
    /// It has ended, and what is known of it does not change.
    AlreadyEnded,
    /// The event says no more than is known.
    StillUnknown,
}

/// An event that cannot happen in a state: whoever reports it has made a mistake. The state does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// The store answers for a request that it was not asked about.
    #[error("the request is not being recorded")]
    NotRecording,
    /// A request that the store does not have yet must not be sent.
    #[error("the request is not recorded yet")]
    NotRecordedYet,
    /// An answer to a request that was never sent.
    #[error("the request was not sent")]
    NotSent,
    /// What was never in doubt cannot be settled.
    #[error("the request has not ended")]
    NotEnded,
    /// A request that has ended must not be sent.
    #[error("the request has ended")]
    Ended,
    /// That an effect is real says an answer, `Ok`, and no failure.
    #[error("a request that was carried out is settled with its answer, not with a failure")]
    DoneWithoutAnswer,
}

/// What `event` does to a request in `state`.
///
/// | state ╲ event | Recorded | NotRecorded | Send | Wait(e) | Succeed | Fail(e) | DeadlinePassed(e) | Cancel | Shutdown | Left | LateAnswer(e) | Reconciled(e) |
/// |---|---|---|---|---|---|---|---|---|---|---|---|---|
/// | Recording | Queued | Failed(none) | *NotRecordedYet* | *NotSent* | *NotSent* | Failed(none) | Timeout(none) | Cancelled | Cancelled | Failed(unknown) | *NotEnded* | *NotEnded* |
/// | Queued | *NotRecording* | *NotRecording* | Sent | *NotSent* | *NotSent* | Failed(none) | Timeout(none) | Cancelled | Cancelled | Failed(unknown) | *NotEnded* | *NotEnded* |
/// | Sent | *NotRecording* | *NotRecording* | sent again | Waiting(e) | Completed | Failed(e) | Timeout(e) | already sent | already sent | Failed(unknown) | *NotEnded* | *NotEnded* |
/// | Waiting(none) | *NotRecording* | *NotRecording* | Sent | Waiting(e) | Completed | Failed(e) | Timeout(e) | Cancelled | Cancelled | Failed(unknown) | *NotEnded* | *NotEnded* |
/// | Waiting otherwise | *NotRecording* | *NotRecording* | Sent | Waiting(e) | Completed | Failed(e) | Timeout(e) | already sent | already sent | Failed(unknown) | *NotEnded* | *NotEnded* |
/// | ended, effect unknown | already ended | already ended | *Ended* | already ended | already ended | already ended | already ended | already ended | already ended | already ended | as known now | as known now |
/// | ended otherwise | already ended | already ended | *Ended* | already ended | already ended | already ended | already ended | already ended | already ended | already ended | already ended | already ended |
///
/// *Italics* are errors. "As known now" keeps the kind of ending where the effect turns out to be `none`, gives `Completed`
/// where it is `done`, and changes nothing where it is still `unknown`. A request that fails before it was sent has no effect,
/// whatever the event says.
///
/// # Errors
/// [`InvalidEvent`] where the event cannot happen in that state.
pub fn transition(state: State, event: Event) -> Result<Transition, InvalidEvent> {
    use Event as E;
    use State as S;
    use Transition::{Ignore, To};

    Ok(match (state, event) {
        (S::Recording, E::Recorded) => To(S::Queued),
        (S::Recording, E::NotRecorded) => To(S::Failed(Effect::None)),
        (S::Recording, E::Send) => return Err(InvalidEvent::NotRecordedYet),
        (S::Queued | S::Sent | S::Waiting(_), E::Recorded | E::NotRecorded) => return Err(InvalidEvent::NotRecording),

        (S::Queued, E::Send) => To(S::Sent),
        (S::Waiting(_), E::Send) => To(S::Sent),
        (S::Sent, E::Send) => Ignore(Ignored::SentAgain),
        (S::Sent | S::Waiting(_), E::Wait(effect)) => To(S::Waiting(effect)),

        (S::Recording | S::Queued, E::Succeed | E::Wait(_)) => return Err(InvalidEvent::NotSent),
        (S::Recording | S::Queued, E::Fail(_)) => To(S::Failed(Effect::None)),
        (S::Recording | S::Queued, E::DeadlinePassed(_)) => To(S::Timeout(Effect::None)),
        (S::Recording | S::Queued, E::Cancel | E::Shutdown) => To(S::Cancelled),

        (S::Sent | S::Waiting(_), E::Succeed) => To(S::Completed),
        (S::Sent | S::Waiting(_), E::Fail(effect)) => To(S::Failed(effect)),
        (S::Sent | S::Waiting(_), E::DeadlinePassed(effect)) => To(S::Timeout(effect)),
        (S::Waiting(Effect::None), E::Cancel | E::Shutdown) => To(S::Cancelled),
        (S::Sent | S::Waiting(_), E::Cancel | E::Shutdown) => Ignore(Ignored::AlreadySent),

        (S::Recording | S::Queued | S::Sent | S::Waiting(_), E::Left) => To(S::Failed(Effect::Unknown)),

        (S::Recording | S::Queued | S::Sent | S::Waiting(_), E::LateAnswer(_) | E::Reconciled(_)) => {
            return Err(InvalidEvent::NotEnded);
        }

        (S::Failed(Effect::Unknown) | S::Timeout(Effect::Unknown), E::LateAnswer(known) | E::Reconciled(known)) => {
            match (state, known) {
                (_, Effect::Unknown) => Ignore(Ignored::StillUnknown),
                (_, Effect::Done) => To(S::Completed),
                (S::Timeout(_), Effect::None) => To(S::Timeout(Effect::None)),
                (_, Effect::None) => To(S::Failed(Effect::None)),
            }
        }

        (S::Completed | S::Failed(_) | S::Timeout(_) | S::Cancelled, E::Send) => return Err(InvalidEvent::Ended),
        (S::Completed | S::Failed(_) | S::Timeout(_) | S::Cancelled, _) => Ignore(Ignored::AlreadyEnded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECTS: [Effect; 3] = [Effect::None, Effect::Done, Effect::Unknown];

    fn states() -> Vec<State> {
        let mut all = vec![
            State::Recording,
            State::Queued,
            State::Sent,
            State::Completed,
            State::Cancelled,
        ];
        all.extend(EFFECTS.map(State::Waiting));
        all.extend(EFFECTS.map(State::Failed));
        all.extend(EFFECTS.map(State::Timeout));
        all
    }

    fn events() -> Vec<Event> {
        let mut all = vec![
            Event::Recorded,
            Event::NotRecorded,
            Event::Send,
            Event::Succeed,
            Event::Cancel,
            Event::Shutdown,
            Event::Left,
        ];
        for make in [
            Event::Wait,
            Event::Fail,
            Event::DeadlinePassed,
            Event::LateAnswer,
            Event::Reconciled,
        ] {
            all.extend(EFFECTS.map(make));
        }
        all
    }

    /// The documented table again, cell by cell, written from the other side: by state first.
    fn expected(state: State, event: Event) -> Result<Transition, InvalidEvent> {
        use Transition::{Ignore, To};
        let unknown = matches!(state, State::Failed(Effect::Unknown) | State::Timeout(Effect::Unknown));
        if state.is_ended() {
            return match event {
                Event::Send => Err(InvalidEvent::Ended),
                Event::LateAnswer(effect) | Event::Reconciled(effect) if unknown => Ok(match effect {
                    Effect::Unknown => Ignore(Ignored::StillUnknown),
                    Effect::Done => To(State::Completed),
                    Effect::None if matches!(state, State::Timeout(_)) => To(State::Timeout(Effect::None)),
                    Effect::None => To(State::Failed(Effect::None)),
                }),
                _ => Ok(Ignore(Ignored::AlreadyEnded)),
            };
        }
        let unsent = matches!(state, State::Recording | State::Queued);
        let may_be_cancelled = unsent || state == State::Waiting(Effect::None);
        match event {
            Event::Recorded if state == State::Recording => Ok(To(State::Queued)),
            Event::NotRecorded if state == State::Recording => Ok(To(State::Failed(Effect::None))),
            Event::Recorded | Event::NotRecorded => Err(InvalidEvent::NotRecording),
            Event::Send => match state {
                State::Recording => Err(InvalidEvent::NotRecordedYet),
                State::Queued | State::Waiting(_) => Ok(To(State::Sent)),
                _ => Ok(Ignore(Ignored::SentAgain)),
            },
            Event::Succeed | Event::Wait(_) if unsent => Err(InvalidEvent::NotSent),
            Event::Wait(effect) => Ok(To(State::Waiting(effect))),
            Event::Succeed => Ok(To(State::Completed)),
            Event::Fail(effect) => Ok(To(State::Failed(if unsent { Effect::None } else { effect }))),
            Event::DeadlinePassed(effect) => Ok(To(State::Timeout(if unsent { Effect::None } else { effect }))),
            Event::Cancel | Event::Shutdown if may_be_cancelled => Ok(To(State::Cancelled)),
            Event::Cancel | Event::Shutdown => Ok(Ignore(Ignored::AlreadySent)),
            Event::Left => Ok(To(State::Failed(Effect::Unknown))),
            Event::LateAnswer(_) | Event::Reconciled(_) => Err(InvalidEvent::NotEnded),
        }
    }

    #[test]
    fn every_state_and_event() {
        for state in states() {
            for event in events() {
                assert_eq!(
                    transition(state, event),
                    expected(state, event),
                    "{state:?} × {event:?}"
                );
            }
        }
    }

    #[test]
    fn an_ending_is_final_unless_its_effect_is_unknown() {
        for state in states().into_iter().filter(|s| s.is_ended()) {
            let may_move = matches!(state, State::Failed(Effect::Unknown) | State::Timeout(Effect::Unknown));
            for event in events() {
                if let Ok(Transition::To(_)) = transition(state, event) {
                    assert!(may_move, "{state:?} moved by {event:?}");
                }
            }
        }
    }
}
