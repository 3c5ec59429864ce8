//! The words of `--help`: examples first, then what there is. It must never show an example that does not work.

/// What the program is.
pub(super) const ABOUT: &str = "Keeps long-lived API keys and hands out 60-second ones";

/// The order of `sixty --help`.
pub(super) const TEMPLATE: &str = "\
Examples:
  sixty demo                                      the whole life of a key, with nothing set up
  sixty init && sixty daemon                      a broker for this user
  printf %s \"$KEY\" | sixty key add dashscope/main --provider dashscope --region singapore
  TOKEN=$(sixty mint dashscope/main)              60 seconds to use it
  sixty why dashscope/main                        which rule decides, and why
  sixty manual                                    the tour

{name} {version}: {about}

{usage-heading} {usage}

{all-args}{after-help}";

/// What scripts go by.
pub(super) const EXITS: &str = "\
Exit codes:
  0 done · 1 other · 2 usage · 69 no daemon · 75 try again (busy, locked) · 77 denied · 78 config";

pub(super) const DEMO: &str = "\
Examples:
  sixty demo             store, mint, use, expire, refuse, revoke, scan
  sixty demo --keep      and leave it running to play with";

pub(super) const INIT: &str = "\
Examples:
  sixty init                     for this user
  sixty init --passphrase        ask for a passphrase to lock the vault with
  sudo sixty init --system       for the machine";

pub(super) const DAEMON: &str = "\
Examples:
  sixty daemon
  sixty daemon --config ./sixty.toml
  sixty daemon --takeover        in the place of the one that serves, after an upgrade";

pub(super) const CHECK: &str = "\
Examples:
  sixty check                    the config that the daemon would read
  sixty check new.toml && mv new.toml ~/.config/sixty/sixty.toml";

pub(super) const DOCTOR: &str = "\
Examples:
  sixty doctor                   exit 1 when something does not work
  sixty doctor --json";

pub(super) const SELFTEST: &str = "\
Examples:
  sixty selftest                 as yourself
  sudo sixty selftest            as root: with the rights of the daemon's user, and of a stranger
  sixty selftest --json";

pub(super) const KEY: &str = "\
Examples:
  sixty key add dashscope/main --provider dashscope --region singapore < key.txt
  sixty key list
  sixty key rotate dashscope/main                asks for the new secret
  sixty key test dashscope/main";

pub(super) const KEY_ADD: &str = "\
Examples:
  printf %s \"$KEY\" | sixty key add dashscope/main --provider dashscope --region singapore
  sixty key add dashscope/eu --provider dashscope --region frankfurt --workspace ws-1
The first takes the secret from stdin; the second, in a terminal, asks for it.";

pub(super) const KEY_LIST: &str = "\
Examples:
  sixty key list
  sixty key list --json | jq -r '.keys[].name'";

pub(super) const KEY_SHOW: &str = "\
Examples:
  sixty key show dashscope/main";

pub(super) const KEY_REMOVE: &str = "\
Examples:
  sixty key remove dashscope/old
  sixty key remove dashscope/old --yes           without being asked";

pub(super) const KEY_TEST: &str = "\
Examples:
  sixty key test dashscope/main";

pub(super) const KEY_ROTATE: &str = "\
Examples:
  sixty key rotate dashscope/main < new-key.txt
  sixty key rotate dashscope/main                asks for the new secret";

pub(super) const DECOY: &str = "\
Examples:
  sixty decoy add openai/backup --provider openai --to ~/.config/openai/key
  sixty decoy list
  sixty decoy remove openai/backup";

pub(super) const DECOY_ADD: &str = "\
Examples:
  sixty decoy add openai/backup --provider openai --to ~/.config/openai/key
  sixty decoy add dashscope/prod --provider dashscope --region singapore >> old.env
  sixty decoy add ci/deploy --provider github --kind virtual > token.txt";

pub(super) const DECOY_LIST: &str = "\
Examples:
  sixty decoy list
  sixty decoy list --json";

pub(super) const DECOY_REMOVE: &str = "\
Examples:
  sixty decoy remove openai/backup";

pub(super) const MINT: &str = "\
Examples:
  TOKEN=$(sixty mint dashscope/main)
  sixty mint dashscope/main --ttl 5m --json
  sixty mint dashscope/main --kind virtual --uses 3 --scope methods=POST --scope models='qwen-*'
  sixty mint dashscope/main --copy
  sixty mint dashscope/main --kind virtual --for unit:job.service --ticket > job.ticket";

pub(super) const NARROW: &str = "\
Examples:
  NARROW=$(printf %s \"$KEY\" | sixty narrow --scope models='qwen-*' --uses 3)
  printf %s \"$KEY\" | sixty narrow --ttl 60s --json | jq -r .id";

pub(super) const REDEEM: &str = "\
Examples:
  KEY=$(sixty redeem < job.ticket)";

pub(super) const EXEC: &str = "\
Examples:
  sixty exec dashscope/main -- python agent.py
  sixty exec dashscope/main --sandbox --bind . -- sh -c 'qwen < task.txt'
  sixty exec dashscope/main --ttl 5m -- sh       a shell with a key for 5 minutes
It sets OPENAI_BASE_URL, OPENAI_API_KEY and their like; the real key stays with the daemon.";

pub(super) const LEASES: &str = "\
Examples:
  sixty leases                   those of this user's processes
  sixty leases --all --json";

pub(super) const REVOKE: &str = "\
Examples:
  sixty revoke ls_00c0ffee00c0ffee
  sixty revoke --key dashscope/main
  sixty revoke --peer uid:1000
  sixty revoke --all";

pub(super) const APPROVE: &str = "\
Examples:
  sixty approve                  shows each request that waits, and asks
  sixty approve --follow         and goes on for those to come
  sixty approve ap_00c0ffee00c0ffee
  sixty approve ap_00c0ffee00c0ffee --deny
  sixty approve --json | jq '.approvals[].key'";

pub(super) const LOCK: &str = "\
Examples:
  sixty lock";

pub(super) const UNLOCK: &str = "\
Examples:
  sixty unlock                   asks for the passphrase
  sixty unlock < passphrase.txt";

pub(super) const USAGE: &str = "\
Examples:
  sixty usage                    by key, as far back as is kept
  sixty usage --by owner --since 7d
  sixty usage --by model --since 2026-11-01 --json";

pub(super) const TOP: &str = "\
Examples:
  sixty top                      by key, every two seconds; q ends
  sixty top --by peer --interval 5s
  sixty top --once --json | jq .rows
  sixty top --json --interval 1m >> leases.ndjson";

pub(super) const STATUS: &str = "\
Examples:
  sixty status
  sixty status --json";

pub(super) const WHOAMI: &str = "\
Examples:
  sixty whoami";

pub(super) const WHY: &str = "\
Examples:
  sixty why dashscope/main
  sixty why dashscope/main --peer uid:1000 unit:ci.service";

pub(super) const AUDIT: &str = "\
Examples:
  sixty audit
  sixty audit --follow --json
  sixty audit verify audit.ndjson.1 audit.ndjson";

pub(super) const AUDIT_VERIFY: &str = "\
Examples:
  sixty audit verify                             the daemon's own file
  sixty audit verify audit.ndjson.1 audit.ndjson";

pub(super) const MANUAL: &str = "\
Examples:
  sixty manual
  sixty manual commands";

pub(super) const COMPLETIONS: &str = "\
Examples:
  sixty completions bash > ~/.local/share/bash-completion/completions/sixty
  sixty completions fish > ~/.config/fish/completions/sixty.fish";
