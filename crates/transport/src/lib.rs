//! The worker of Inflight: sends the requests of a registry with reqwest.
