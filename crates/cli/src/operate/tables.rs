//! `inflight store`: the tables themselves.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use inflight::store::{DurableStore, OpenError, StoreOptions};
use inflight::store_options;

use crate::args::{StoreArgument, StoreCommand};
use crate::durable::open_store;
use crate::operate::{Failure, open, options, show};
use crate::stream::remark;
use crate::text::one_line;
use crate::{FAILED, OK};

/// Why a copy is not written.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("PostgreSQL's own pg_dump backs it up")]
    Postgres,
    #[error("{file} cannot be written: {source}")]
    File { file: String, source: io::Error },
}

impl CopyError {
    fn of(file: &Path, source: io::Error) -> Self {
        let file = file.display().to_string();
        Self::File { file, source }
    }
}

/// Gives the exit status.
pub(crate) fn store(command: &StoreCommand) -> Result<u8, Failure> {
    match command {
        StoreCommand::Migrate { store } => {
            drop(open_store(&store.url, store_options(""))?);
            show("the tables are up to date\n");
        }
        StoreCommand::Check { store } => return check(store),
        StoreCommand::Vacuum { store } => {
            open(store)?.vacuum()?;
            show("done\n");
        }
        StoreCommand::Export { file, store } => return export(&open_damaged(store)?, file.as_deref()),
        StoreCommand::Backup { file, store } => {
            let store = open(store)?;
            // The database would write into an empty one.
            drop(File::create_new(file).map_err(|source| CopyError::of(file, source))?);
            if !store.back_up(file)? {
                std::fs::remove_file(file)?;
                return Err(CopyError::Postgres.into());
            }
            show(&format!("{} is written\n", one_line(&file.display().to_string())));
        }
    }
    Ok(OK)
}

/// Opens a store of which as much is to be seen as can be read.
fn open_damaged(store: &StoreArgument) -> Result<DurableStore, Failure> {
    let options = StoreOptions {
        accept_damage: true,
        ..options()
    };
    Ok(open_store(&store.url, options)?)
}

fn check(argument: &StoreArgument) -> Result<u8, Failure> {
    let store = match open(argument) {
        Ok(store) => store,
        Err(error) => {
            let OpenError::Damaged(damage) = error.reason() else {
                return Err(error.into());
            };
            show(&format!("damaged: {}\n", one_line(damage)));
            return Ok(FAILED);
        }
    };
    if let Some(damage) = store.check()? {
        show(&format!("damaged: {}\n", one_line(&damage)));
        return Ok(FAILED);
    }
    for (state, count) in store.counts()? {
        show(&format!("{state:<10}{count:>10}\n"));
    }
    show("no damage found\n");
    Ok(OK)
}

/// What takes the lines of an export, until it cannot.
struct Lines {
    out: Box<dyn Write + Send>,
    error: Option<io::Error>,
}

impl Lines {
    fn note(&mut self, written: io::Result<()>) -> bool {
        self.error = self.error.take().or(written.err());
        self.error.is_none()
    }
}

/// Gives the exit status.
fn export(store: &DurableStore, file: Option<&Path>) -> Result<u8, Failure> {
    let out: Box<dyn Write + Send> = match file {
        None => Box::new(BufWriter::new(io::stdout())),
        Some(file) => {
            let created = File::create_new(file).map_err(|source| CopyError::of(file, source))?;
            Box::new(BufWriter::new(created))
        }
    };
    let lines = Arc::new(Mutex::new(Lines { out, error: None }));
    let taking = Arc::clone(&lines);
    let rows = store.export(move |line| {
        let mut lines = taking.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writeln!(lines.out, "{line}");
        lines.note(written)
    });
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let flushed = lines.out.flush();
    lines.note(flushed);
    match lines.error.take() {
        // A reader that has gone away does not matter.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let name = file.unwrap_or(Path::new("standard output"));
            return Err(CopyError::of(name, error).into());
        }
        _ => {}
    }
    let left_out = rows?;
    for row in &left_out {
        remark(&format!("inflight: not exported: {}\n", one_line(row)));
    }
    Ok(if left_out.is_empty() { OK } else { FAILED })
}
