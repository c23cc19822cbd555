//! The simulator as a server that runs on a thread of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{oneshot, watch};

use crate::api::{Api, Counts};
use crate::faults::Faults;
use crate::latency::Latency;
use crate::server::{self, Shared};
use crate::state::{self, StateError};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address to listen on is none.
    #[error("`{address}` is not an address to listen on, such as 127.0.0.1:12111")]
    Address {
        /// What was given.
        address: String,
        /// Why it is none.
        source: io::Error,
    },
    /// The address can be reached from elsewhere. The simulator checks no key, so it stays on this machine.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on: another program has it.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The file with the state cannot be read.
    #[error("cannot load the state: {0}")]
    State(#[from] StateError),
    /// The simulator's thread or its runtime cannot start.
    #[error("cannot start the simulator's thread: {0}")]
    Thread(#[from] io::Error),
}

/// One answered request, for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// The answer's `Request-Id`.
    pub request_id: String,
    /// The operation's name, if the route is known.
    pub operation: Option<&'static str>,
    /// Whether a saved answer was given again.
    pub replayed: bool,
    /// How long the answer is held back.
    pub latency: Duration,
}

/// What is told of every request.
pub(crate) type Hook = Box<dyn Fn(&RequestRecord) + Send + Sync>;

/// How a simulator starts.
pub struct Builder {
    api: Api,
    listen: String,
    hook: Option<Hook>,
    read_timeout: Duration,
    state: Option<PathBuf>,
}

impl Builder {
    /// Sets how long answers take. By default no time.
    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.api = self.api.latency(latency);
        self
    }

    /// Sets what goes wrong, with which requests and how often. By default nothing.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.api = self.api.faults(faults);
        self
    }

    /// Sets what ids and latencies follow from: the same seed and the same requests in the same order give the same. By
    /// default another one each time.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.api = self.api.seed(seed);
        self
    }

    /// Sets the loopback address to listen on; port 0 takes any free one. By default `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Sets the clock that `created` is read from, in Unix seconds. By default the system's.
    #[must_use]
    pub fn unix_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.api = self.api.unix_clock(clock);
        self
    }

    /// Sets what is called for each request, on the simulator's thread: it must be quick. By default nothing is.
    #[must_use]
    pub fn on_request(mut self, hook: impl Fn(&RequestRecord) + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Sets how long a client may take to send a request's headers, and again to send its body; a kept-alive connection is
    /// closed when it was idle for so long. By default 30 s.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets the file from which the state is loaded, if it is there, and to which it is saved when the simulator stops. By default
    /// nothing outlives the simulator.
    #[must_use]
    pub fn state(mut self, file: impl Into<PathBuf>) -> Self {
        self.state = Some(file.into());
        self
    }

    /// Starts the simulator. When this returns it takes requests.
    ///
    /// # Errors
    /// The address cannot be listened on, or the machine gives no thread: see [`StartError`].
    pub fn start(mut self) -> Result<Simulator, StartError> {
        if let Some(file) = &self.state
            && let Some(text) = state::read(file)?
        {
            self.api.load(&text)?;
        }
        let address = resolve(&self.listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            listen(address).map_err(|source| StartError::Listen { address, source })?
        };
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            api: Mutex::new(self.api),
            hook: self.hook,
            read_timeout: self.read_timeout,
            down: watch::Sender::new(Duration::ZERO),
            state: self.state,
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("inflight-sim".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = server::serve(listener, served) => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime drops every connection.
            })?;
        Ok(Simulator {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("api", &self.api)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

fn resolve(address: &str) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Address {
        address: address.to_owned(),
        source,
    };
    let resolved = address.to_socket_addrs().map_err(failed)?.next();
    let resolved = resolved.ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
    if resolved.ip().is_loopback() {
        Ok(resolved)
    } else {
        Err(StartError::NotLoopback(resolved))
    }
}

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A program that is started again must not wait until the old connections are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A running simulator. Dropping it stops it at once.
///
/// ```
/// use inflight_sim::Simulator;
///
/// let simulator = Simulator::builder().seed(7).start()?;
/// assert!(simulator.url().starts_with("http://127.0.0.1:"));
/// assert_eq!(simulator.count("product"), 0);
/// # Ok::<_, inflight_sim::StartError>(())
/// ```
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// How to start one.
    #[must_use]
    pub fn builder() -> Builder {
        let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
        Builder {
            // The low half changes fastest.
            api: Api::new(nanos as u64),
            listen: "127.0.0.1:0".to_owned(),
            hook: None,
            read_timeout: server::READ_TIMEOUT,
            state: None,
        }
    }

    /// Starts one on any free port, with nothing in it.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// The base URL, without a slash at its end: `http://127.0.0.1:12111`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// How often what happened since the start or the last reset.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.api().counts()
    }

    /// All objects of a type (`product`) in the keys' own account, oldest first. Empty for types that are not simulated.
    #[must_use]
    pub fn objects(&self, r#type: &str) -> Vec<serde_json::Value> {
        self.api().objects(r#type)
    }

    /// How many objects of a type there are in the keys' own account.
    #[must_use]
    pub fn count(&self, r#type: &str) -> usize {
        self.api().count(r#type)
    }

    /// Whether a request with this idempotency key changed something in the keys' own account. `None` for unknown keys.
    #[must_use]
    pub fn effect_of_key(&self, key: &str) -> Option<bool> {
        self.api().effect_of_key(key)
    }

    /// Sets what goes wrong from now on. Connections that are open already are closed with an end where a reset was asked for, if
    /// there were no faults when they were opened.
    pub fn set_faults(&self, faults: Faults) {
        self.api().set_faults(faults);
    }

    /// How often each fault happened, by name.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.api().injected()
    }

    /// Whether a client was sent in full what became of the request with this idempotency key. Known only where there are faults.
    #[must_use]
    pub fn was_told(&self, key: &str) -> bool {
        self.api().was_told(key)
    }

    /// Moves the simulator's clock forward: idempotency keys age, and what is created is younger.
    pub fn advance(&self, time: Duration) {
        self.api().advance(time);
    }

    /// How often an operation was asked for since the start or the last reset: `product.create`.
    #[must_use]
    pub fn requests(&self, operation: &str) -> u64 {
        self.api().operations().get(operation).copied().unwrap_or(0)
    }

    /// Writes the state to the file that [`Builder::state`] named. `false` if none was named.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<bool, StateError> {
        self.shared.save()
    }

    /// Forgets every object, key and count; ids start again from the seed.
    pub fn reset(&self) {
        self.api().reset();
    }

    /// Stops the simulator: closes every connection and waits until its thread has ended. Then the state is saved, if it has a
    /// file; call [`save`](Self::save) before to know whether that can be written.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread is gone if this fails, which is as well.
            let _ = stop.send(());
        }
        let Some(thread) = self.thread.take() else { return };
        // It ends with a panic only if a hook of the caller's does; that has been printed.
        let _ = thread.join();
        // A state that cannot be saved is told of by `save`.
        let _ = self.shared.save();
    }

    fn api(&self) -> MutexGuard<'_, Api> {
        self.shared.api()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
