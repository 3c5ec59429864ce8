//! Before the machine sleeps, what need not outlast it is wiped from memory: logind is asked to wait for that, by a delay
//! inhibitor (systemd-logind(8), org.freedesktop.login1). It must never keep the machine awake for longer than that takes,
//! nor believe anybody but logind.

mod bus;
mod message;

use super::DaemonError;
use crate::{
    broker::Broker,
    config::{self, Config, environment},
    sys::scrub,
};
use bus::Bus;
#[cfg(fuzzing)]
pub use message::fuzz;
use message::{Callee, ERROR, Message, REPLY, SIGNAL};
use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::PathBuf,
};
use tokio::{io::Interest, net::UnixStream, sync::watch};
use tracing::warn;

const LOGIND: Callee = Callee {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};
const SLEEPS: &str = "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.login1.Manager',\
                      member='PrepareForSleep',path='/org/freedesktop/login1'";
const CHANGES: &str = "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
                       member='NameOwnerChanged',arg0='org.freedesktop.login1'";
/// Where the bus is unless `DBUS_SYSTEM_BUS_ADDRESS` says otherwise.
const USUAL: &str = "/run/dbus/system_bus_socket";

/// How sleep is watched, for `status`.
pub(super) type Told = watch::Receiver<String>;

/// logind, as it was reached before the confinement.
pub(super) struct Watch {
    bus: Bus,
    /// Who logind is on the bus: a name that nobody else can have.
    logind: String,
    /// While it is open, sleep waits.
    inhibitor: Option<OwnedFd>,
    asked: u32,
    told: watch::Sender<String>,
}

/// Reaches logind, while this process may open a connection. Else, why not.
pub(super) fn open(config: &Config) -> Result<(Option<Watch>, Told), DaemonError> {
    let (told, tells) = watch::channel("watched".to_owned());
    let wanted = config.daemon.suspend;
    if wanted == config::Suspend::Off {
        told.send_replace("off".into());
        return Ok((None, tells));
    }
    match reach() {
        Ok((bus, logind, inhibitor)) => {
            Ok((Some(Watch { bus, logind, inhibitor: Some(inhibitor), asked: 0, told }), tells))
        }
        Err(fault) if wanted == config::Suspend::Require => {
            Err(DaemonError::Kernel("the config says suspend = \"require\", and logind can't be reached", fault))
        }
        Err(fault) => {
            told.send_replace(format!("not watched: logind can't be reached: {fault}"));
            Ok((None, tells))
        }
    }
}

fn reach() -> io::Result<(Bus, String, OwnedFd)> {
    let mut bus = Bus::open(&address()?)?;
    bus.listen(SLEEPS)?;
    bus.listen(CHANGES)?;
    let mut answer = bus.answer(LOGIND, "Inhibit", &INHIBIT)?;
    let inhibitor = answer.passed.pop().ok_or_else(|| io::Error::other("logind gave no inhibitor"))?;
    Ok((bus, answer.sender, inhibitor))
}

const UNDELAYED: &str = "not delayed: logind gives no inhibitor";
const INHIBIT: [&str; 4] = ["sleep", "sixty", "keys and tokens are wiped from memory first", "delay"];

/// `unix:path=…`; of several the first.
fn address() -> io::Result<PathBuf> {
    let Some(said) = environment("DBUS_SYSTEM_BUS_ADDRESS") else { return Ok(USUAL.into()) };
    let path = said.to_str().and_then(|text| text.split([';', ',']).next()?.strip_prefix("unix:path="));
    path.map(PathBuf::from).ok_or_else(|| {
        let said = String::from_utf8_lossy(said.as_bytes()).into_owned();
        io::Error::other(format!("DBUS_SYSTEM_BUS_ADDRESS is no unix:path=…: {said}"))
    })
}

/// Watches until the bus ends. From then on the clocks alone tell of a sleep, when it is over.
pub(super) fn watch(watch: Option<Watch>, broker: &Broker) -> io::Result<()> {
    let Some(mut watch) = watch else { return Ok(()) };
    let (broker, heard) = (broker.clone(), watch.bus.enter_loop()?);
    scrub::spawn(async move {
        let fault = stay(&mut watch, &heard, &broker).await;
        warn!(%fault, "nobody tells any more when the machine is about to sleep; restart the daemon");
        watch.told.send_replace("not watched: the bus has ended; restart the daemon".into());
    });
    Ok(())
}

async fn stay(watch: &mut Watch, heard: &UnixStream, broker: &Broker) -> io::Error {
    loop {
        if let Err(fault) = heard.readable().await {
            return fault;
        }
        match heard.try_io(Interest::READABLE, || watch.bus.fill()) {
            Ok(()) => {}
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => continue,
            Err(fault) => return fault,
        }
        loop {
            let taken = match watch.bus.next() {
                Ok(Some(message)) => watch.take(message, broker).await,
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = taken {
                return fault;
            }
        }
    }
}

impl Watch {
    async fn take(&mut self, mut message: Message, broker: &Broker) -> io::Result<()> {
        match (message.kind, message.member.as_str()) {
            (REPLY, _) if message.answers == self.asked => {
                self.inhibitor = message.passed.pop();
                self.logind = message.sender;
                self.told.send_replace(if self.inhibitor.is_some() { "watched" } else { UNDELAYED }.into());
            }
            (ERROR, _) if message.answers == self.asked => {
                self.told.send_replace(UNDELAYED.into());
            }
            // Anybody can send us a signal, and only logind from its name.
            (SIGNAL, "PrepareForSleep") if message.sender == self.logind && message.interface == LOGIND.interface => {
                match message.flag() {
                    Some(true) => {
                        broker.before_sleep().await;
                        self.inhibitor = None;
                    }
                    Some(false) => {
                        broker.after_sleep().await;
                        self.inhibit()?;
                    }
                    None => {}
                }
            }
            (SIGNAL, "NameOwnerChanged") if message.sender == "org.freedesktop.DBus" => {
                if let [name, _, owner] = message.texts()[..]
                    && name == LOGIND.name
                {
                    owner.clone_into(&mut self.logind);
                    match owner {
                        "" => drop(self.told.send_replace("not watched: logind has ended".into())),
                        _ => self.inhibit()?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn inhibit(&mut self) -> io::Result<()> {
        self.asked = self.bus.call(LOGIND, "Inhibit", &INHIBIT)?;
        Ok(())
    }
}
