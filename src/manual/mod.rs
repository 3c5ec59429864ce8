//! The manual, one page a file: shown by rustdoc and by `sixty manual`. It must never say what the program does not do.

/// Each page's name and text, the first one shown when none is asked for.
pub const TOPICS: &[(&str, &str)] = &[
    ("tour", include_str!("tour.md")),
    ("commands", include_str!("commands.md")),
    ("gateway", include_str!("gateway.md")),
    ("providers", include_str!("providers.md")),
    ("sandboxes", include_str!("sandboxes.md")),
    ("narrow", include_str!("narrow.md")),
    ("approval", include_str!("approval.md")),
    ("audit", include_str!("audit.md")),
    ("decoys", include_str!("decoys.md")),
    ("usage", include_str!("usage.md")),
    ("systemd", include_str!("systemd.md")),
    ("suspend", include_str!("suspend.md")),
    ("restart", include_str!("restart.md")),
    ("confinement", include_str!("confinement.md")),
    ("vault-format", include_str!("vault-format.md")),
    ("mistakes", include_str!("mistakes.md")),
];

#[doc = include_str!("tour.md")]
pub mod tour {}
#[doc = include_str!("commands.md")]
pub mod commands {}
#[doc = include_str!("gateway.md")]
pub mod gateway {}
#[doc = include_str!("providers.md")]
pub mod providers {}
#[doc = include_str!("sandboxes.md")]
pub mod sandboxes {}
#[doc = include_str!("narrow.md")]
pub mod narrow {}
#[doc = include_str!("approval.md")]
pub mod approval {}
#[doc = include_str!("audit.md")]
pub mod audit {}
#[doc = include_str!("decoys.md")]
pub mod decoys {}
#[doc = include_str!("usage.md")]
pub mod usage {}
#[doc = include_str!("systemd.md")]
pub mod systemd {}
#[doc = include_str!("suspend.md")]
pub mod suspend {}
#[doc = include_str!("restart.md")]
pub mod restart {}
#[doc = include_str!("confinement.md")]
pub mod confinement {}
#[doc = include_str!("vault-format.md")]
pub mod vault_format {}
#[doc = include_str!("mistakes.md")]
pub mod mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code without a language, or indented, would be compiled as Rust by rustdoc.
    #[test]
    fn every_piece_of_code_names_its_language() {
        for (name, text) in TOPICS {
            let mut open = false;
            for line in text.lines() {
                if line.starts_with("```") {
                    assert!(open || line.len() > 3, "{name}: {line}");
                    open = !open;
                }
                assert!(open || !line.starts_with("    "), "{name}: {line}");
            }
        }
    }
}
