//! Text → checked config. It tells every fault at once, with its place, and never stops at the first;
//! it never guesses what was meant, and starts nothing.

mod alarm;
mod approval;
mod bounds;
mod budget;
mod context;
mod fault;
mod file;
mod gateway;
mod mask;
mod nearest;
mod options;
mod paths;
mod peer;
mod preset;
mod price;
mod reach;
mod rule;
mod sections;
mod source;
mod start;
mod syntax;
mod table;
mod value;

pub use approval::{Approval, Ask};
pub use context::Context;
pub use fault::{Fault, Faults, Paint, Severity, Spot};
pub use file::load;
pub use options::{
    Alarm, Audit, Confinement, Daemon, Format, Gateway, Level, Limits, Log, Loopback, OnSuspend, Provider, Providers,
    Suspend, Sync, Unlock, Upstream, Usage, Vault,
};
pub use paths::{Bases, Mode, Paths, environment};
pub use start::default_text;

use crate::{model::SharedBudget, policy::Rules, recipe::Prices};
use source::Source;
use table::Table;
use toml::de::DeTable;

/// A config in which nothing is wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// `[daemon]`
    pub daemon: Daemon,
    /// `[limits]`
    pub limits: Limits,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[usage]`
    pub usage: Usage,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[vault]`
    pub vault: Vault,
    /// `[alarm]`
    pub alarm: Alarm,
    /// `[approval]`
    pub approval: Approval,
    /// `[audit]`
    pub audit: Audit,
    /// `[log]`
    pub log: Log,
    /// `[provider.NAME]`
    pub providers: Providers,
    /// `[[price]]`
    pub prices: Prices,
    /// `[[budget]]`
    pub budgets: Vec<SharedBudget>,
    /// `[[rule]]`
    pub rules: Rules,
    /// What does not do what it seems to; for `sixty check`, the log and `status`.
    pub warnings: Faults,
}

/// Reads a config's text; `file` is its name for people. Pure.
///
/// # Errors
/// All faults (and warnings) of the text, in its order.
pub fn parse(file: &str, text: &str, context: &Context) -> Result<Config, Faults> {
    let source = Source::new(file, text);
    let config = if syntax::lines_are_short(&source) { read(&source, context) } else { Config::default() };
    let warnings = source.finish()?;
    Ok(Config { warnings, ..config })
}

fn read(source: &Source<'_>, context: &Context) -> Config {
    let (tree, faults) = DeTable::parse_recoverable(source.text());
    syntax::check(source, &faults);
    let mut root = Table::new(source, "a config", 0..0, tree.get_ref());
    let known = || context.recipes.keys().map(String::as_str);
    let prices = root.take("price").map(|value| price::prices(value, known())).unwrap_or_default();
    let budgets = root.take("budget").map(|value| budget::budgets(value, &prices)).unwrap_or_default();
    let rules = root.take("rule").map(|value| rule::rules(value, context, &prices));
    if rules.is_none() {
        source.remark("no rule, no key: every request will be denied", "add a [[rule]]; `sixty init` writes one");
    }
    Config {
        daemon: sections::daemon(root.table("daemon")),
        limits: sections::limits(root.table("limits")),
        gateway: gateway::gateway(root.table("gateway")),
        usage: sections::usage(root.table("usage")),
        upstream: sections::upstream(root.table("upstream")),
        vault: sections::vault(root.table("vault")),
        alarm: alarm::alarm(root.table("alarm")),
        approval: approval::approval(root.table("approval")),
        audit: sections::audit(root.table("audit")),
        log: sections::log(root.table("log")),
        providers: sections::providers(root.table("provider"), known()),
        prices,
        budgets,
        rules: rules.unwrap_or_default(),
        warnings: Faults::default(),
    }
}
