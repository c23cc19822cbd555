//! Rhai that awaits: scripts as futures, and script functions for requests in flight.
