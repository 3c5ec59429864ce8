//! From the checked config to a broker: each module is given its own small options, and nothing else.

use super::{
    DaemonError, DaemonOptions, launch,
    places::{self, Found},
};
use crate::{
    attest::{AttestOptions, Attestor},
    audit::{Audit, AuditOptions, Sync},
    broker::{
        AlarmOptions, ApprovalOptions, AskOptions, Broker, BrokerOptions, Debugger, OnSuspend, Parts, Reloaded, Speech,
        UnlockSource,
    },
    clock::Clock,
    config::{self, Ask, Config, Paths, Unlock, environment},
    endpoint::EndpointOptions,
    gateway::{GatewayOptions, Lingering},
    issuer::{self, Issuer, IssuerOptions, IssuerParts, Recipes},
    ledger::{Ledger, LedgerOptions, UsageBook, UsageOptions},
    recipe::Recipe,
    sys::launcher::Launcher,
    upstream::{Private, Upstream, UpstreamOptions},
    vault::{Cost, OpenError, UnlockWith, Vault},
    wire::{UnpackBounds, narrow::Bounds},
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};
use tracing::warn;

/// What is served, and the ledger whose reaper must run.
pub(super) struct House {
    pub(super) broker: Broker,
    pub(super) ledger: Ledger,
}

/// Builds the house. The audit is opened first: its lock keeps a second daemon from the vault.
pub(super) async fn build(
    options: &DaemonOptions,
    (config, recipes, paths): (&Config, Recipes, &Paths),
    clock: &Clock,
    gateway: Option<SocketAddr>,
    (confinement, launcher): (&'static str, &Option<Launcher>),
) -> Result<House, DaemonError> {
    places::own(Some(&paths.state), 0o700)?;
    let audit = Audit::open(audit_options(config, paths), clock.clone())?;
    let unlock = unlock_source(&config.vault.unlock);
    let vault = Arc::new(vault(paths, clock, &unlock).await?);
    let upstream = Upstream::new(upstream_options(config), clock.clone())?;
    let parts = IssuerParts {
        vault: vault.clone(),
        upstream,
        recipes: recipes.into(),
        audit: audit.clone(),
        clock: clock.clone(),
    };
    let issuer = Issuer::new(parts, issuer_options(config, gateway));
    let limits = &config.limits;
    let ledger = Ledger::new(
        LedgerOptions {
            leases: limits.leases as usize,
            leases_per_uid: limits.leases_per_uid as usize,
            narrowed_keys: limits.narrowed_keys as usize,
        },
        clock.clone(),
    );
    let (usage, spent) = UsageBook::open(usage_options(config, paths));
    ledger.restore(spent);
    let parts = Parts {
        attestor: Attestor::new(AttestOptions {
            exe_bytes: limits.exe_bytes as u64,
            exe_hashes: limits.exe_hashes as usize,
            tcp_lookups: limits.tcp_lookups as usize,
        }),
        vault,
        issuer,
        ledger: ledger.clone(),
        usage,
        prices: config.prices.clone(),
        audit,
        clock: clock.clone(),
        rules: config.rules.clone(),
        budgets: config.budgets.clone(),
    };
    let options = BrokerOptions {
        connections_per_uid: limits.connections_per_uid as usize,
        refusals_per_uid: limits.refusals_per_uid,
        owner: nix::unistd::geteuid().as_raw(),
        confinement,
        debugger: if options.readable_by_parent { Debugger::Expected } else { Debugger::Refused },
        approval: approval_options(config, launcher),
        lock_after: config.vault.lock_after,
        unlock,
        alarm: alarm_options(config, launcher),
        on_suspend: match config.vault.on_suspend {
            config::OnSuspend::Keep => OnSuspend::Kept,
            config::OnSuspend::Lock => OnSuspend::Locked,
        },
        reload: reload(options.clone(), launcher.clone()),
    };
    Ok(House { broker: Broker::new(parts, options), ledger })
}

pub(super) fn endpoint_options(config: &Config) -> EndpointOptions {
    let limits = &config.limits;
    EndpointOptions {
        connections: limits.connections as usize,
        busy_answers: limits.busy_answers as usize,
        request_bytes: limits.request_bytes,
        leases_per_page: limits.leases_per_page as usize,
        header_bytes: limits.header_bytes,
        header_time: limits.header_time,
        body_time: limits.body_time,
        idle_time: limits.idle_time,
        request_time: limits.request_time,
    }
}

pub(super) fn gateway_options(config: &Config) -> GatewayOptions {
    let limits = &config.limits;
    GatewayOptions {
        connections: limits.connections as usize,
        header_bytes: limits.header_bytes,
        idle_time: limits.idle_time,
        body_time: limits.body_time,
        upload_idle: limits.upload_idle,
        answer_idle: limits.answer_idle,
        taking_idle: limits.taking_idle,
        lingering: Lingering { time: limits.linger_time, bytes: limits.linger_bytes },
        look_bytes: limits.look_bytes,
        narrowed: Bounds { bytes: limits.narrowed_bytes, steps: limits.narrowed_steps as usize },
        unpack: UnpackBounds { ratio: limits.unpack_ratio.into(), window: limits.unpack_window },
        origins: config.gateway.origins.clone(),
    }
}

/// Opens the vault; makes one where a key file or a credential is there to open it with.
async fn vault(paths: &Paths, clock: &Clock, unlock: &UnlockSource) -> Result<Vault, DaemonError> {
    match (Vault::open(paths.vault.clone(), clock.clone()), unlock) {
        (Err(OpenError::Missing { .. }), Some(source)) => {
            Ok(Vault::create(paths.vault.clone(), clock.clone(), source(), Cost::default()).await?)
        }
        (opened, _) => Ok(opened?),
    }
}

fn unlock_source(unlock: &Unlock) -> UnlockSource {
    match unlock.clone() {
        Unlock::Passphrase => None,
        Unlock::File(path) => Some(Box::new(move || UnlockWith::KeyFile(path.clone()))),
        Unlock::Credential(name) => {
            let directory = environment("CREDENTIALS_DIRECTORY").map(PathBuf::from).unwrap_or_default();
            Some(Box::new(move || UnlockWith::Credential { directory: directory.clone(), name: name.clone() }))
        }
    }
}

fn audit_options(config: &Config, paths: &Paths) -> AuditOptions {
    AuditOptions {
        path: paths.audit.clone(),
        head_path: paths.audit.with_extension("head"),
        sync: match config.audit.sync {
            config::Sync::None => Sync::None,
            config::Sync::Each => Sync::Each,
        },
    }
}

fn usage_options(config: &Config, paths: &Paths) -> UsageOptions {
    UsageOptions {
        file: Some(paths.state.join("usage.json")),
        rows: config.usage.rows as usize,
        days: u32::try_from(config.usage.keep.as_secs() / 86_400).unwrap_or(u32::MAX),
    }
}

fn upstream_options(config: &Config) -> UpstreamOptions {
    let upstream = &config.upstream;
    UpstreamOptions {
        ca_file: upstream.ca_file.clone(),
        connect_time: upstream.connect_time,
        total_time: upstream.total_time,
        body_bytes: upstream.body_bytes,
        warm_idle: upstream.warm_idle,
        kept_connections: upstream.kept_connections as usize,
        private: if upstream.allow_private { Private::Allowed } else { Private::Refused },
        ports: upstream.ports.clone(),
    }
}

fn issuer_options(config: &Config, gateway: Option<SocketAddr>) -> IssuerOptions {
    IssuerOptions {
        loopback: config.upstream.loopback,
        clock_tolerance: config.upstream.clock_tolerance,
        mints_per_key: config.upstream.mints_per_key as usize,
        gateway: gateway.map_or("http://localhost".into(), |address| format!("http://{address}")),
    }
}

fn alarm_options(config: &Config, launcher: &Option<Launcher>) -> Option<AlarmOptions> {
    let (launcher, program) = (launcher.clone()?, config.alarm.program.clone()?);
    Some(AlarmOptions { launcher, program, time: config.alarm.time, rate: config.alarm.rate })
}

fn approval_options(config: &Config, launcher: &Option<Launcher>) -> ApprovalOptions {
    let limits = &config.limits;
    ApprovalOptions {
        ask: launcher.clone().and_then(|launcher| ask_options(&config.approval.ask, launcher)),
        timeout: config.approval.timeout,
        waiting: limits.approvals as usize,
        waiting_per_uid: limits.approvals_per_uid as usize,
        kept: limits.approvals_kept as usize,
    }
}

fn ask_options(ask: &Ask, launcher: Launcher) -> Option<AskOptions> {
    let text = |name| environment(name).and_then(|value| value.into_string().ok());
    let speech = match ask {
        Ask::Terminal => return None,
        Ask::Pinentry(_) => Speech::Pinentry(text("GPG_TTY").map(|tty| (tty, text("TERM").unwrap_or_default()))),
        Ask::Askpass(_) => Speech::Askpass,
    };
    Some(AskOptions { launcher, program: ask.program()?.clone(), speech })
}

/// The recipes, with the limits that the config raises.
pub(super) fn recipes(config: &Config, mut recipes: BTreeMap<String, Recipe>) -> Recipes {
    for (name, raised) in &config.providers {
        if let Some(recipe) = recipes.get_mut(name) {
            let limits = &mut recipe.limits;
            limits.workspaces_per_account =
                raised.workspaces_per_account.map_or(limits.workspaces_per_account, |n| n as usize);
            limits.keys_per_workspace = raised.keys_per_workspace.map_or(limits.keys_per_workspace, |n| n as usize);
        }
    }
    issuer::shared(recipes)
}

/// Reads rules, budgets and providers anew; everything else of a config takes a restart.
fn reload(
    options: DaemonOptions,
    launcher: Option<Launcher>,
) -> Box<dyn Fn() -> Result<Reloaded, String> + Send + std::marker::Sync> {
    Box::new(move || match places::read(&options) {
        Ok(Found { config, recipes: found, .. }) => {
            for program in launch::unknown(&config, launcher.as_ref()) {
                warn!(program = %program.display(), "a program that is newly named is run after a restart only");
            }
            let recipes = recipes(&config, found);
            Ok(Reloaded { rules: config.rules, budgets: config.budgets, recipes })
        }
        Err(fault) => Err(fault.to_string()),
    })
}
