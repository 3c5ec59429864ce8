//! The daemon's life: build, serve, listen for signals, drain. Each long task is a file of its own elsewhere.

use super::{
    DaemonError, DaemonOptions,
    build::{self, House},
    listen::{self, Listening},
    logs, notify, places,
};
use crate::{
    broker::{Broker, Rollback},
    clock::Clock,
    config::Config,
    endpoint::{ControlOptions, Door, EndpointOptions, Server, serve},
    observe::{About, metrics, status},
    sys::socket::{Modes, Place, bind_unix},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{error, info, warn};

pub(super) async fn run(options: &DaemonOptions) -> Result<(), DaemonError> {
    let clock = Clock::system();
    let (config, paths) = places::read(options)?;
    logs::start(&config.log);
    if !config.warnings.is_empty() {
        warn!("the config has warnings; `sixty check` shows them");
    }
    let mut signals = Signals::new()?;
    let House { broker, ledger } = build::build(options, &config, &paths, &clock).await?;
    let sockets = listen::listen(&paths)?;
    let _reaper = ledger.spawn_reaper().map_err(|fault| DaemonError::Kernel("no timer", fault.into()))?;
    broker.start(env!("CARGO_PKG_VERSION"));
    let by_itself = config.vault.unlock != crate::config::Unlock::Passphrase;
    if by_itself && let Err(fault) = broker.unlock(None, None, Rollback::Refuse).await {
        error!(%fault, "the vault stays locked");
    }
    let about = Arc::new(About::new(clock.clone(), options.readable_by_parent, &paths.vault));
    let limits = build::endpoint_options(&config);
    let mut doors = [
        Served::open(sockets.broker, Door::Broker, paths.broker, listen::broker_modes(), &broker, &clock, limits)?,
        Served::open(
            sockets.control,
            control(&broker, &about),
            paths.control,
            listen::control_modes(),
            &broker,
            &clock,
            limits,
        )?,
    ];
    info!(broker = %doors[0].path.display(), control = %doors[1].path.display(), "serving");
    notify::ready(&told(&broker));
    keep(&broker, &config, &mut signals, &mut doors).await;
    info!("draining");
    notify::stopping();
    for door in doors {
        door.close(config.daemon.drain).await;
    }
    broker.stop();
    Ok(())
}

fn control(broker: &Broker, about: &Arc<About>) -> Door {
    let (for_status, for_metrics) = ((broker.clone(), about.clone()), (broker.clone(), about.clone()));
    Door::Control(Arc::new(ControlOptions {
        status: Box::new(move || status(&for_status.0, &for_status.1)),
        metrics: Box::new(move || metrics(&for_metrics.0, &for_metrics.1)),
    }))
}

/// Serves until it is told to stop.
async fn keep(broker: &Broker, config: &Config, signals: &mut Signals, doors: &mut [Served]) {
    let period = notify::watchdog_period().unwrap_or(Duration::MAX).min(Duration::from_secs(1));
    let mut tick = tokio::time::interval(period);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                broker.flush();
                if let Some(after) = config.vault.lock_after {
                    broker.lock_if_idle(after);
                }
                doors.iter_mut().for_each(Served::look_after);
                notify::watchdog();
                notify::status(&told(broker));
            }
            _ = signals.reload.recv() => {
                notify::reloading();
                let _ = broker.reload(None);
                notify::ready(&told(broker));
            }
            _ = signals.reopen.recv() => broker.reopen_audit(),
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
        }
    }
}

fn told(broker: &Broker) -> String {
    let status = broker.status();
    let keys = status.vault.keys.map_or("vault locked".to_owned(), |keys| format!("{keys} keys"));
    format!("{keys}, {} leases, {} sent", status.leases.live, status.answers.sent)
}

/// One socket that is served, and what is needed to make it again.
struct Served {
    server: Option<Server>,
    place: Option<Place>,
    path: PathBuf,
    again: Box<dyn Fn() -> Result<(Server, Place), DaemonError> + Send>,
}

impl Served {
    #[allow(clippy::too_many_arguments)]
    fn open(
        socket: Listening,
        door: Door,
        path: PathBuf,
        modes: Modes,
        broker: &Broker,
        clock: &Clock,
        limits: EndpointOptions,
    ) -> Result<Self, DaemonError> {
        let (broker, clock, at) = (broker.clone(), clock.clone(), path.clone());
        let begin = move |listener: std::os::unix::net::UnixListener| {
            let fault = |fault| DaemonError::Kernel("the socket cannot be served", fault);
            let listener = UnixListener::from_std(listener).map_err(fault)?;
            Ok::<_, DaemonError>(serve(listener, door.clone(), broker.clone(), clock.clone(), limits))
        };
        let server = Some(begin(socket.listener)?);
        let again = Box::new(move || {
            let (listener, place) = bind_unix(&at, modes)?;
            Ok((begin(listener)?, place))
        });
        Ok(Self { server, place: socket.place, path, again })
    }

    /// A socket file that was deleted is made again; one that another daemon replaced is left to it.
    fn look_after(&mut self) {
        if self.place.as_ref().is_none_or(Place::still_ours) {
            return;
        }
        match (self.again)() {
            Ok((server, place)) => {
                warn!(path = %self.path.display(), "the socket was removed; it is there again");
                (self.server, self.place) = (Some(server), Some(place));
            }
            Err(fault) => error!(%fault, "the socket was removed and cannot be made again"),
        }
    }

    async fn close(self, within: Duration) {
        if let Some(server) = self.server {
            server.drain(within).await;
        }
        if let Some(place) = self.place {
            place.remove();
        }
    }
}

struct Signals {
    reload: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, DaemonError> {
        let one = |kind| signal(kind).map_err(|fault| DaemonError::Kernel("no signals", fault));
        Ok(Self {
            reload: one(SignalKind::hangup())?,
            reopen: one(SignalKind::user_defined1())?,
            terminate: one(SignalKind::terminate())?,
            interrupt: one(SignalKind::interrupt())?,
        })
    }
}
