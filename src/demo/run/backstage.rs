//! The thread behind the scene: the pretend Model Studio runs there, and signals are heard.
//! It must never outlive the play.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::super::studio::{Studio, StudioOptions};
use super::step::{StepError, system};
use crate::clock::Clock;
use crate::sys::scrub;

/// A running stand-in, and an ear for signals.
pub(super) struct Backstage {
    pub(super) studio: Studio,
    signals: Receiver<()>,
    interrupted: bool,
    /// Dropped to end the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backstage {
    /// Starts the stand-in, which writes its authority's certificate to `ca_file`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(ca_file: PathBuf, clock: Clock) -> Result<Self, StepError> {
        let (tell, told) = mpsc::channel();
        let (signalled, signals) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let options =
            StudioOptions { ca_file: Some(ca_file), ..StudioOptions::new(std::sync::Arc::new(move || clock.wall())) };
        let work = move || {
            let told = match started(options, signalled) {
                Ok((runtime, studio)) => {
                    let _ = tell.send(Ok(studio));
                    let _ = scrub::run(&runtime, ended);
                    return;
                }
                Err(fault) => fault,
            };
            let _ = tell.send(Err(told));
        };
        let thread = scrub::thread(work).map_err(system("no thread for the stand-in"))?;
        let studio = told.recv().map_err(|_| StepError::Otherwise("the stand-in ended at once".to_owned()))??;
        Ok(Self { studio, signals, interrupted: false, end: Some(end), thread: Some(thread) })
    }

    /// Waits; an interrupt ends it early.
    ///
    /// # Errors
    /// [`StepError::Interrupted`], at once if that has happened before.
    pub(super) fn pause(&mut self, span: Duration) -> Result<(), StepError> {
        if !self.interrupted && self.signals.recv_timeout(span) == Err(mpsc::RecvTimeoutError::Timeout) {
            return Ok(());
        }
        self.interrupted = true;
        Err(StepError::Interrupted)
    }

    /// Whether somebody wants it to end.
    pub(super) fn interrupted(&mut self) -> bool {
        self.pause(Duration::ZERO).is_err()
    }
}

impl Drop for Backstage {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Started = (tokio::runtime::Runtime, Studio);

fn started(options: StudioOptions, signalled: Sender<()>) -> Result<Started, StepError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("no event loop for the stand-in"))?;
    let studio = scrub::run(&runtime, async {
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signal = signal(kind).map_err(system("no signals"))?;
            let signalled = signalled.clone();
            scrub::spawn(async move { while signal.recv().await.is_some() && signalled.send(()).is_ok() {} });
        }
        Ok::<_, StepError>(Studio::start(options).await?)
    })?;
    Ok((runtime, studio))
}
