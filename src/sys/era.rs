//! What must be the same for numbers of one process to mean the same to another: the boot, and the namespaces that
//! process numbers and boot time are counted in. It must never be taken for a secret, nor for something hard to guess.

use std::fs;

/// A line without spaces at its ends. What this process may not see (systemd's `ProcSubset=pid` hides the boot's id) is
/// a dash, the same for every process that is run so.
pub fn here() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let boot = boot.map_or_else(|| "-".to_owned(), |text| text.trim().to_owned());
    let space = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).ok();
        link.map_or_else(|| "-".to_owned(), |link| link.to_string_lossy().into_owned())
    };
    [boot, space("pid"), space("time")].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_whole_and_always_the_same() {
        let told = here();
        assert_eq!(told, here());
        assert!(told.len() > 36 && told.contains("pid:[") && !told.contains('\n'), "{told}");
    }
}
