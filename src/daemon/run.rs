//! The daemon's life: build, serve, listen for signals, drain. Each long task is a file of its own elsewhere.

use super::{
    Before, DaemonError, DaemonOptions,
    build::{self, House},
    doors::{self, Entrance, Name, Served},
    handover::{self, Serving, Times},
    inherit::{ESTATE, Inherited},
    listen::{self, Listening, TcpGateway},
    logs, loops, notify,
    places::Found,
    suspend,
};
use crate::{
    broker::{Broker, Rollback},
    clock::Clock,
    config::{Config, Paths, Unlock},
    endpoint::{self, ControlOptions, Door},
    gateway,
    observe::{About, Confinement, metrics, status},
    sys::{alloc, closing::Course, code, era, memfd, tcp},
};
use std::{os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tracing::{error, info, warn};

pub(super) async fn run(
    options: &DaemonOptions,
    found: Found,
    Before { confinement, launcher, sleep: (sleep, slept), tcp, mut inherited }: Before,
) -> Result<(), DaemonError> {
    let clock = Clock::system();
    let Found { config, recipes, paths } = found;
    let recipes = build::recipes(&config, recipes);
    begin_log(&config, &confinement);
    // From here on until we serve, nobody does: all that can be done before is done.
    if options.takeover {
        inherited.take_over(&paths.control)?;
    }
    // Not before: whoever waits for its turn ends by a signal, and the daemon that serves goes on.
    let signals = Signals::new()?;
    let tcp = tcp.had(&mut inherited)?;
    let address = tcp.as_ref().map(|(_, address)| *address);
    let House { broker, ledger } =
        build::build(options, (&config, recipes, &paths), &clock, address, (confinement.extent(), &launcher)).await?;
    let sockets = sockets(&paths, tcp, &mut inherited)?;
    let _reaper = ledger.spawn_reaper().map_err(|fault| DaemonError::Kernel("no timer", fault.into()))?;
    let _asker = broker.spawn_asker();
    broker.start(env!("CARGO_PKG_VERSION"));
    inherited.leases(&broker)?;
    suspend::watch(sleep, &broker).map_err(|fault| DaemonError::Kernel("sleep cannot be watched", fault))?;
    unlock(&config, &broker, &inherited).await?;
    let about = Arc::new(
        About::new(clock.clone(), options.readable_by_parent, &paths.vault, address, confinement)
            .launching(launcher)
            .sleeping(slept),
    );
    let limits = build::endpoint_options(&config);
    let loops = loops::start(config.daemon.workers)?;
    let (successor, successors) = mpsc::channel(1);
    let endpoint =
        |door| Entrance::Endpoint(endpoint::entrance(door, broker.clone(), clock.clone(), limits, loops.clone()));
    let through = gateway::entrance(broker.clone(), build::gateway_options(&config), loops.clone());
    if address.is_some() && !tcp::works() {
        warn!("this kernel or /proc does not tell who calls by TCP: only rules with bearer_alone let anybody call");
    }
    inherited.turn()?;
    let doors = sockets
        .into_iter()
        .map(|(name, listening, path)| {
            let entrance = match name {
                Name::Broker => endpoint(Door::Broker),
                Name::Control => endpoint(control(&broker, &about, &successor)),
                Name::Gateway | Name::GatewayTcp => Entrance::Gateway(through.clone()),
            };
            let resting = inherited.resting(name);
            Served::open((name, listening), entrance, (path, listen::modes(name)), resting)
        })
        .collect::<Result<Vec<_>, _>>()?;
    // What nobody wanted of it is closed: who calls there is refused and not left to wait.
    drop(inherited);
    let [at, control, gateway] = [&paths.broker, &paths.control, &paths.gateway].map(|path| path.display());
    let by = address.map_or("off".to_owned(), |address| address.to_string());
    info!(broker = %at, %control, %gateway, tcp = %by, "serving");
    notify::ready(&told(&broker));
    code::give_back();
    let times = Times { drain: config.daemon.drain, takeover: config.daemon.takeover };
    serve(&broker, signals, doors, successors, times).await
}

/// Serves to the end, or until another process does.
async fn serve(
    broker: &Broker,
    mut signals: Signals,
    mut doors: Vec<Served>,
    mut successors: mpsc::Receiver<UnixStream>,
    times: Times,
) -> Result<(), DaemonError> {
    while let Some(stream) = keep(broker, &mut signals, &mut doors, &mut successors).await {
        if handover::hand_over(stream, &mut doors, broker, times).await? == Serving::Other {
            broker.retire();
            return Ok(());
        }
    }
    info!("draining");
    broker.stop_asking();
    notify::stopping();
    doors::close(&doors, Course::Drain, times.drain).await;
    doors.into_iter().for_each(Served::remove);
    broker.stop().await;
    leave(broker);
    Ok(())
}

/// Opens the vault, where nobody needs to type a passphrase nor locked it in the process before.
async fn unlock(config: &Config, broker: &Broker, inherited: &Inherited) -> Result<(), DaemonError> {
    if config.vault.unlock == Unlock::Passphrase || inherited.locked {
        return Ok(());
    }
    match broker.unlock(None, None, Rollback::Refuse).await {
        // Who serves now has it open.
        Err(fault) if inherited.old.is_some() => Err(DaemonError::Locked(fault.to_string())),
        Err(fault) => {
            error!(%fault, "the vault stays locked");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn begin_log(config: &Config, confinement: &Confinement) {
    logs::start(&config.log);
    if !config.warnings.is_empty() {
        warn!("the config has warnings; `sixty check` shows them");
    }
    for missing in &confinement.missing {
        warn!("the daemon is not confined altogether: {missing}");
    }
}

/// All sockets, and where their files lie.
fn sockets(paths: &Paths, tcp: Option<TcpGateway>, inherited: &mut Inherited) -> Result<Vec<Socket>, DaemonError> {
    let unix = [(Name::Broker, &paths.broker), (Name::Control, &paths.control), (Name::Gateway, &paths.gateway)];
    let mut all = Vec::new();
    for (name, path) in unix {
        all.push((name, listen::unix(name, path, inherited)?, path.clone()));
    }
    all.extend(tcp.map(|(listener, _)| (Name::GatewayTcp, Listening::Tcp(listener), PathBuf::new())));
    Ok(all)
}

type Socket = (Name, Listening, PathBuf);

/// Leaves the leases to the service manager, for the process that it starts next.
fn leave(broker: &Broker) {
    if !notify::is_there() {
        return;
    }
    match memfd::sealed(|to| broker.leave(&era::here(), to)) {
        Ok(estate) => notify::store(ESTATE, estate.as_fd()),
        Err(fault) => warn!(%fault, "the leases end with this process"),
    }
}

fn control(broker: &Broker, about: &Arc<About>, takeover: &mpsc::Sender<UnixStream>) -> Door {
    let (for_status, for_metrics) = ((broker.clone(), about.clone()), (broker.clone(), about.clone()));
    Door::Control(Arc::new(ControlOptions {
        status: Box::new(move || status(&for_status.0, &for_status.1)),
        metrics: Box::new(move || metrics(&for_metrics.0, &for_metrics.1)),
        takeover: takeover.clone(),
    }))
}

/// Serves until it is told to stop, or to hand over to whoever is at the end of this connection.
async fn keep(
    broker: &Broker,
    signals: &mut Signals,
    doors: &mut [Served],
    successors: &mut mpsc::Receiver<UnixStream>,
) -> Option<UnixStream> {
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
                let ended_by_now = doors.iter().map(Served::ended).sum();
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
            _ = signals.terminate.recv() => return None,
            _ = signals.interrupt.recv() => return None,
            Some(successor) = successors.recv() => return Some(successor),
        }
    }
}

fn told(broker: &Broker) -> String {
    let status = broker.status();
    let keys = status.vault.keys.map_or("vault locked".to_owned(), |keys| format!("{keys} keys"));
    format!("{keys}, {} leases, {} sent", status.leases.live, status.answers.sent)
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
