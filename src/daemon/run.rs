//! The daemon's life: build, serve, listen for signals, drain. Each long task is a file of its own elsewhere.

use super::{
    Before, DaemonError, DaemonOptions,
    build::{self, House},
    listen::{self, Listening},
    logs, loops, notify,
    places::Found,
    suspend,
};
use crate::{
    broker::{Broker, Rollback},
    clock::Clock,
    endpoint::{self, ControlOptions, Door},
    gateway,
    observe::{About, metrics, status},
    sys::{
        accept::Server,
        alloc, code,
        socket::{BindError, Modes, Place, bind_unix},
        tcp,
    },
};
use std::{net::SocketAddr, os::unix::net, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{error, info, warn};

pub(super) async fn run(
    options: &DaemonOptions,
    found: Found,
    listener: Option<(std::net::TcpListener, SocketAddr)>,
    Before { confinement, launcher, sleep: (sleep, slept) }: Before,
) -> Result<(), DaemonError> {
    let clock = Clock::system();
    let Found { config, recipes, paths } = found;
    let recipes = build::recipes(&config, recipes);
    logs::start(&config.log);
    if !config.warnings.is_empty() {
        warn!("the config has warnings; `sixty check` shows them");
    }
    for missing in &confinement.missing {
        warn!("the daemon is not confined altogether: {missing}");
    }
    let mut signals = Signals::new()?;
    let address = listener.as_ref().map(|(_, address)| *address);
    let House { broker, ledger } =
        build::build(options, (&config, recipes, &paths), &clock, address, (confinement.extent(), &launcher)).await?;
    let sockets = listen::listen(&paths)?;
    let _reaper = ledger.spawn_reaper().map_err(|fault| DaemonError::Kernel("no timer", fault.into()))?;
    let _asker = broker.spawn_asker();
    broker.start(env!("CARGO_PKG_VERSION"));
    suspend::watch(sleep, &broker).map_err(unserved)?;
    let by_itself = config.vault.unlock != crate::config::Unlock::Passphrase;
    if by_itself && let Err(fault) = broker.unlock(None, None, Rollback::Refuse).await {
        error!(%fault, "the vault stays locked");
    }
    let about = Arc::new(
        About::new(clock.clone(), options.readable_by_parent, &paths.vault, address, confinement)
            .launching(launcher)
            .sleeping(slept),
    );
    let limits = build::endpoint_options(&config);
    let loops = loops::start(config.daemon.workers)?;
    let endpoint =
        |door| Entrance::Endpoint(endpoint::entrance(door, broker.clone(), clock.clone(), limits, loops.clone()));
    let through = gateway::entrance(broker.clone(), build::gateway_options(&config), loops.clone());
    let by_tcp = listener.map(|(listener, _)| through.serve::<TcpListener>(&listener)).transpose().map_err(unserved)?;
    if by_tcp.is_some() && !tcp::works() {
        warn!("this kernel or /proc does not tell who calls by TCP: only rules with bearer_alone let anybody call");
    }
    let (open, closed) = (listen::broker_modes(), listen::control_modes());
    let mut doors = [
        Served::open(sockets.broker, endpoint(Door::Broker), paths.broker, open)?,
        Served::open(sockets.control, endpoint(control(&broker, &about)), paths.control, closed)?,
        Served::open(sockets.gateway, Entrance::Gateway(through), paths.gateway, open)?,
    ];
    let [at, control, gateway] = doors.each_ref().map(|door| door.path.display());
    let by = address.map_or("off".to_owned(), |address| address.to_string());
    info!(broker = %at, %control, %gateway, tcp = %by, "serving");
    notify::ready(&told(&broker));
    code::give_back();
    keep(&broker, &mut signals, &mut doors).await;
    info!("draining");
    broker.stop_asking();
    notify::stopping();
    close(doors, by_tcp, config.daemon.drain).await;
    broker.stop().await;
    Ok(())
}

/// Answers what is asked, and nothing new.
async fn close(doors: [Served; 3], by_tcp: Option<Server>, within: Duration) {
    let [broker_door, control_door, gateway_door] = doors.map(|door| door.close(within));
    let tcp_door = async {
        if let Some(server) = by_tcp {
            server.drain(within).await;
        }
    };
    tokio::join!(broker_door, control_door, gateway_door, tcp_door);
}

fn control(broker: &Broker, about: &Arc<About>) -> Door {
    let (for_status, for_metrics) = ((broker.clone(), about.clone()), (broker.clone(), about.clone()));
    Door::Control(Arc::new(ControlOptions {
        status: Box::new(move || status(&for_status.0, &for_status.1)),
        metrics: Box::new(move || metrics(&for_metrics.0, &for_metrics.1)),
    }))
}

/// Serves until it is told to stop.
async fn keep(broker: &Broker, signals: &mut Signals, doors: &mut [Served]) {
    let period = notify::watchdog_period().unwrap_or(Duration::MAX).min(Duration::from_secs(1));
    let mut tick = tokio::time::interval(period);
    let mut ended = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                broker.look_at_clocks();
                broker.flush();
                broker.lock_if_idle();
                doors.iter_mut().for_each(Served::look_after);
                let ended_by_now = doors.iter().map(|door| door.entrance.ended()).sum();
                if std::mem::replace(&mut ended, ended_by_now) != ended_by_now {
                    alloc::give_back();
                    code::give_back();
                }
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

/// What a socket leads to.
enum Entrance {
    Endpoint(endpoint::Entrance),
    Gateway(gateway::Entrance),
}

impl Entrance {
    fn serve(&self, listener: &net::UnixListener) -> std::io::Result<Server> {
        match self {
            Entrance::Endpoint(entrance) => entrance.serve::<UnixListener>(listener),
            Entrance::Gateway(entrance) => entrance.serve::<UnixListener>(listener),
        }
    }

    fn ended(&self) -> u64 {
        match self {
            Entrance::Endpoint(entrance) => entrance.ended(),
            Entrance::Gateway(entrance) => entrance.ended(),
        }
    }
}

/// One socket that is served, and what is needed to make it again.
struct Served {
    entrance: Entrance,
    server: Server,
    place: Option<Place>,
    path: PathBuf,
    modes: Modes,
}

impl Served {
    fn open(socket: Listening, entrance: Entrance, path: PathBuf, modes: Modes) -> Result<Self, DaemonError> {
        let server = entrance.serve(&socket.listener).map_err(unserved)?;
        Ok(Self { entrance, server, place: socket.place, path, modes })
    }

    /// A socket file that was deleted is made again; one that another daemon replaced is left to it.
    fn look_after(&mut self) {
        if self.place.as_ref().is_none_or(Place::still_ours) {
            return;
        }
        match self.bind_again() {
            Ok(()) => warn!(path = %self.path.display(), "the socket was removed; it is there again"),
            Err(DaemonError::Bind(BindError::InUse { path })) => {
                error!(path = %path.display(), "another daemon has taken the socket; it is left to it");
                self.place = None;
            }
            Err(fault) => error!(%fault, "the socket was removed and cannot be made again"),
        }
    }

    /// Connections of the old socket end after the answer that they wait for.
    fn bind_again(&mut self) -> Result<(), DaemonError> {
        let (listener, place) = bind_unix(&self.path, self.modes)?;
        self.server = self.entrance.serve(&listener).map_err(unserved)?;
        self.place = Some(place);
        Ok(())
    }

    async fn close(self, within: Duration) {
        self.server.drain(within).await;
        if let Some(place) = self.place {
            place.remove();
        }
    }
}

fn unserved(fault: std::io::Error) -> DaemonError {
    DaemonError::Kernel("the socket cannot be served", fault)
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
